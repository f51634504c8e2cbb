-- Puts the answer of a claimed call in the place of its claim, or gives the claim up so that the next call has it.
--
-- KEYS   [1] `idempotent` of project and key, [2] `kept` of the project (keys.py)
-- ARGV   [1] id of the claim, [2] the answer, sealed; "" gives up, [3] for how long it is kept, in ms
-- reply  1; 0 when the claim is no longer this call's, and nothing was done
--
-- Example: EVALSHA <sha> 2 {relay}:idempotent:7:9f86d0... {relay}:kept:7 <16 bytes> <sealed answer> 600000

local OVERHEAD = 256 -- bytes that Redis takes for an entry besides the answer

if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  return 1
end
local keep_ms = tonumber(ARGV[3])
redis.call('HDEL', KEYS[1], 'claim')
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], keep_ms)

local time = redis.call('TIME')
local slot = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / keep_ms)
local held = redis.call('HMGET', KEYS[2], 'slot', 'current', 'previous')
local age = held[1] and slot - tonumber(held[1])
local current = age == 0 and tonumber(held[2]) or 0
local previous = age == 0 and tonumber(held[3]) or age == 1 and tonumber(held[2]) or 0
redis.call('HSET', KEYS[2], 'slot', slot, 'current', current + #ARGV[2] + OVERHEAD, 'previous', previous)
redis.call('PEXPIRE', KEYS[2], keep_ms * 2)
return 1
