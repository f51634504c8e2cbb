-- Gives back what generations held in a budget or a user's share of a pool, by whoever has ended. What was spent stays.
--
-- KEYS   [1] `purse` of kind `b` or `c`
-- ARGV   [1] the last generation that is closed for it
-- reply  what was given back, in micro-credits
--
-- Example: EVALSHA <sha> 1 {relay}:purse:b:key:7 41

local fields, closed, gone = redis.call('HGETALL', KEYS[1]), tonumber(ARGV[1]), 0
for at = 1, #fields, 2 do
  local generation = string.match(fields[at], '^h:%x+:(%d+)$')
  if generation and tonumber(generation) <= closed then
    gone = gone + tonumber(fields[at + 1])
    redis.call('HDEL', KEYS[1], fields[at])
  end
end
if gone ~= 0 then
  redis.call('HINCRBY', KEYS[1], 'used', -gone)
end
return gone
