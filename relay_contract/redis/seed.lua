-- Makes purses anew where none may pay: each is dropped and written. The last call opens the money with its marker.
--
-- KEYS   [1] `MONEY`, [2] `SEEDING`, then the purses
-- ARGV   [1] what `SEEDING` was set to by whoever seeds, [2] the marker to set at last, or '',
--        then for each purse two fields with their values; a purse whose first field is '' is dropped alone
-- reply  1; 0 when money is open already, or another seeds: nothing was changed
--
-- Example: EVALSHA <sha> 3 {relay}:money {relay}:money:seeding {relay}:purse:w:200
--          6f1d... '' granted 50000000 version 7731

if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
for key = 3, #KEYS do
  local at = 4 * key - 9
  redis.call('DEL', KEYS[key])
  if ARGV[at] ~= '' then
    redis.call('HSET', KEYS[key], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    if ARGV[at] == 'bucket' then
      redis.call('PEXPIRE', KEYS[key], 40 * 86400000) -- as in admit.lua
    end
  end
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[2])
end
return 1
