-- Keeps the claims of calls that are still being made. One that is gone stays gone: another call may have it.
--
-- KEYS   `idempotent` entries (keys.py)
-- ARGV   [1] the lease in ms, then the id of the claim on each of KEYS
-- reply  0
--
-- Example: EVALSHA <sha> 1 {relay}:idempotent:7:9f86d0... 30000 <16 bytes>

for place = 1, #KEYS do
  if redis.call('HGET', KEYS[place], 'claim') == ARGV[place + 1] then
    redis.call('PEXPIRE', KEYS[place], ARGV[1])
  end
end
return 0
