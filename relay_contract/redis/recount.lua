-- Tells a budget or a user's share of a pool what was used of it, if it is still what it was when somebody compared it.
--
-- KEYS   [1] `purse` of kind `b` or `c`
-- ARGV   [1] the period's number, [2] what was used as it was found, '' where nothing stood there of this period,
--        [3] what was used
-- reply  1; 0 when it has changed, or something is held of it: nothing was changed
--
-- Example: EVALSHA <sha> 1 {relay}:purse:b:key:7 24322 1500000 1600000

local found, used = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #found, 2 do
  used[found[at]] = found[at + 1]
  if string.sub(found[at], 1, 2) == 'h:' and tonumber(found[at + 1]) ~= 0 then
    return 0
  end
end
local bucket = tonumber(used.bucket or 0)
if bucket > tonumber(ARGV[1]) or (bucket == tonumber(ARGV[1]) and used.used or '') ~= ARGV[2] then
  return 0
end
if bucket < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'bucket', ARGV[1], 'used', ARGV[3])
redis.call('PEXPIRE', KEYS[1], 40 * 86400000) -- as in admit.lua
return 1
