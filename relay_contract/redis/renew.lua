-- Keeps the leases of calls that are still in flight. A lease that is gone is put back: the call is the truth.
--
-- KEYS   `leases` sorted sets (keys.py), one for each lease to renew
-- ARGV   for each of KEYS: the reservation id, the lease in ms
-- reply  0
--
-- Example: EVALSHA <sha> 1 {relay}:leases:key:7:3:1 6f1d... 120000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for lease = 1, #KEYS do
  local milliseconds = tonumber(ARGV[lease * 2])
  redis.call('ZADD', KEYS[lease], now + milliseconds, ARGV[lease * 2 - 1])
  redis.call('PEXPIRE', KEYS[lease], milliseconds)
end
return 0
