-- Takes from a purse what is spent at once, by whoever is no caller of an edge; or gives such an amount back.
--
-- KEYS   [1] `MONEY`, [2] `purse` of a wallet or pool
-- ARGV   [1] micro-credits; below 0 they are given back, [2] then: the generation that they were taken under
-- reply  {1, generation} taken, or given back; {0, left} there is not enough; {-1, 0} nobody knows: no purse pays now
--
-- Example: EVALSHA <sha> 2 {relay}:money {relay}:purse:w:200 1500000
--
-- What was taken under a generation that is closed by now is not given back here: the balance has it already.

local amount = tonumber(ARGV[1])
if amount < 0 then
  if redis.call('HEXISTS', KEYS[2], 'spent:' .. ARGV[2]) == 1 then
    redis.call('HINCRBY', KEYS[2], 'spent:' .. ARGV[2], ARGV[1])
    redis.call('HINCRBY', KEYS[2], 'used', ARGV[1])
  end
  return {1, tonumber(ARGV[2])}
end
local generation = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):%d+:%w+$')
if not generation then
  return {-1, 0}
end
local purse = redis.call('HMGET', KEYS[2], 'granted', 'used')
local left = (tonumber(purse[1]) or 0) - (tonumber(purse[2]) or 0)
if amount > left then
  return {0, left}
end
redis.call('HINCRBY', KEYS[2], 'used', ARGV[1])
redis.call('HINCRBY', KEYS[2], 'spent:' .. generation, ARGV[1])
return {1, tonumber(generation)}
