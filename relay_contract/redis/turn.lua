-- Changes the marker of money, if it is still what it was taken for.
--
-- KEYS   [1] `MONEY`
-- ARGV   [1] what it is, [2] what it is to be; '' deletes it: no purse pays from then on
-- reply  1; 0 when it is something else, or gone
--
-- Example: EVALSHA <sha> 1 {relay}:money 41:38:9f86... 42:38:9f86...

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
