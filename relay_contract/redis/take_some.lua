-- Takes from a purse what some of several things cost, from the first on: as many as there is enough for. Spent at once.
--
-- KEYS   [1] `MONEY`, [2] `purse` of a wallet or pool
-- ARGV   the price of each, in micro-credits
-- reply  {generation, what was taken}; {-1, 0} nobody knows: no purse pays now
--
-- Example: EVALSHA <sha> 2 {relay}:money {relay}:purse:w:200 1000000 1000000 2000000

local generation = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):%d+:%w+$')
if not generation then
  return {-1, 0}
end
local purse = redis.call('HMGET', KEYS[2], 'granted', 'used')
local left, taken = (tonumber(purse[1]) or 0) - (tonumber(purse[2]) or 0), 0
for _, price in ipairs(ARGV) do
  if taken + tonumber(price) > left then
    break
  end
  taken = taken + tonumber(price)
end
if taken > 0 then
  redis.call('HINCRBY', KEYS[2], 'used', string.format('%.0f', taken))
  redis.call('HINCRBY', KEYS[2], 'spent:' .. generation, string.format('%.0f', taken))
end
return {tonumber(generation), taken}
