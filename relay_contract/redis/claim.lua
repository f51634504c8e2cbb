-- Claims a call that is to be made once, or answers what became of it.
--
-- KEYS   [1] `idempotent` of project and key, [2] `kept` of the project (keys.py)
-- ARGV   [1] digest of what is asked, [2] id of the claim, [3] its lease in ms, [4] bytes of answers that the project may
--        have kept, [5] how long answers are kept, in ms
-- reply  {"mine"}: make the call. {"in_progress"}: somebody else makes it. {"done", its answer, sealed}.
--        {"other"}: the key stands for another call. {"full", ms}: the project has to wait at least so long
--
-- Example: EVALSHA <sha> 2 {relay}:idempotent:7:9f86d0... {relay}:kept:7 <32 bytes> <16 bytes> 30000 67108864 600000

local found = redis.call('HMGET', KEYS[1], 'call', 'answer')
if found[1] then
  if found[1] ~= ARGV[1] then
    return {'other'}
  end
  return found[2] and {'done', found[2]} or {'in_progress'}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keep_ms = tonumber(ARGV[5])
local slot = math.floor(now / keep_ms)
local held = redis.call('HMGET', KEYS[2], 'slot', 'current', 'previous')
local age = held[1] and slot - tonumber(held[1])
local kept = 0
if age == 0 then
  kept = tonumber(held[2]) + tonumber(held[3])
elseif age == 1 then
  kept = tonumber(held[2])
end
if kept >= tonumber(ARGV[4]) then
  return {'full', (slot + 1) * keep_ms - now}
end

redis.call('HSET', KEYS[1], 'call', ARGV[1], 'claim', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'mine'}
