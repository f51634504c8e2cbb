-- Tells a purse what it may spend, and drops what generations held and spent that are closed for it: from then on that
-- is in what it is told. Absolute and of a version, so that telling it again, or late, changes nothing.
--
-- KEYS   [1] `purse` of a wallet or pool
-- ARGV   [1] version, [2] granted, in micro-credits, [3] the last generation that is closed for it
-- reply  1; 0 when the purse knows this version or a newer one
--
-- Example: EVALSHA <sha> 1 {relay}:purse:w:200 7731 50000000 41

local known = redis.call('HGET', KEYS[1], 'version')
if known and tonumber(known) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'granted', ARGV[2])
local fields, closed, gone = redis.call('HGETALL', KEYS[1]), tonumber(ARGV[3]), 0
for at = 1, #fields, 2 do
  local generation = string.match(fields[at], '^spent:(%d+)$') or string.match(fields[at], '^h:%x+:(%d+)$')
  if generation and tonumber(generation) <= closed then
    gone = gone + tonumber(fields[at + 1])
    redis.call('HDEL', KEYS[1], fields[at])
  end
end
if gone ~= 0 then
  redis.call('HINCRBY', KEYS[1], 'used', -gone)
end
return 1
