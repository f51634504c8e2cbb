-- Ends calls in flight: each gives its place back. Doing it twice is doing it once.
--
-- KEYS   `leases` sorted sets (keys.py), one for each lease to end; a call with two leases stands here twice
-- ARGV   the reservation id for each of KEYS
-- reply  how many leases there were to end
--
-- Example: EVALSHA <sha> 1 {relay}:leases:key:7:3:1 6f1d...

local ended = 0
for lease = 1, #KEYS do
  ended = ended + redis.call('ZREM', KEYS[lease], ARGV[lease])
end
return ended
