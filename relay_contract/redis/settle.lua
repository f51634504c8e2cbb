-- Ends calls: places in flight are given back, tokens and money reserved but not used as well, probes that came to
-- nothing are free for another call. Exactly once: a settlement that is sent again changes nothing.
--
-- KEYS   [1] `settled` of the edge process, [2] `BREAKERS`, then one per rule to settle (keys.py), in the order of ARGV
-- ARGV   [1] the settlement's number, growing with each one of the process
--        then for each call: reservation id, when it was reserved (ms of Redis time), tokens and nano-USD to give back
--        (below 0: used beyond what was reserved), how many rules, and each as three: meter, amount, window in ms;
--        meters are t, m, T, M and c of admit.lua, and p, a probe: its amount is the breaker's field, it has no key.
--        Purses are rules as well, each as five. w, an account: w, what it holds, what is charged, the field that it
--        holds that in, the field of what is spent in that generation; b, a budget or a cap: the same, but at last the
--        period it was let in in. W and B, an edge's own purses in a Redis that has not heard of them: they hold the
--        amount from now on
-- reply  1; 0 when this number was settled before
--
-- Example: EVALSHA <sha> 3 {relay}:settled:6f1d {relay}:breakers {relay}:leases:key:7:3:1 41
--          6f1d... 1795230000000 0 0 1 c 10 120000
--
-- What was counted in a window is corrected in the bucket it was counted in, while that counts. What GCRA has drained
-- since the reservation is not given back a second time.

if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', 86400000)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function correct_window(key, back, reserved_at, window)
  local stored = redis.call('HMGET', key, 'bucket', 'current', 'previous')
  local age = stored[1] and tonumber(stored[1]) - math.floor(reserved_at / window)
  if age == 0 then
    redis.call('HSET', key, 'current', math.max(tonumber(stored[2]) - back, 0))
  elseif age == 1 then
    redis.call('HSET', key, 'previous', math.max(tonumber(stored[3]) - back, 0))
  elseif back < 0 and (not age or age < 0) then -- nobody reserved in this window, and yet something was used
    local previous = age == -1 and stored[2] or 0
    redis.call('HSET', key, 'bucket', math.floor(reserved_at / window), 'current', -back, 'previous', previous)
    redis.call('PEXPIRE', key, window * 2)
  end
end

local function correct_gcra(key, back, reserved_at, amount, window)
  if back > 0 then
    back = math.max(back - math.floor(math.max(now - reserved_at, 0) * amount / window), 0)
  end
  if back ~= 0 and amount >= 1 then
    local stored = redis.call('HMGET', key, 'owed', 'at')
    local owed = math.max((tonumber(stored[1]) or 0) - back, 0)
    redis.call('HSET', key, 'owed', owed, 'at', stored[2] or time[1] * 1000000 + time[2])
    redis.call('PEXPIRE', key, math.ceil(owed * window / amount) + 1000)
  end
end

local function release_probe(field, id)
  local stored = redis.call('HGET', KEYS[2], field)
  local entry = stored and cjson.decode(stored)
  if entry and entry.state == 'half_open' and entry.probe == id then
    entry.probe_until_ms = 0
    redis.call('HSET', KEYS[2], field, cjson.encode(entry))
  end
end

local BUDGET_KEPT_MS = 40 * 86400000 -- as in admit.lua

-- Digits alone: some servers write a number of ours as 1e+12, which no other reader takes for one.
local function after(stored, change)
  return string.format('%.0f', (tonumber(stored) or 0) + change)
end

-- A hold that is not known (its generation was closed, Redis lost everything) is nobody's to take back, and what the call
-- was charged is not counted here either: its row in Postgres tells.
local function settle_account(key, held, charge, field, spent)
  local stored = redis.call('HMGET', key, 'used', field, spent)
  if stored[2] then
    local used, left = after(stored[1], charge - held), after(stored[2], -held)
    redis.call('HSET', key, 'used', used, field, left, spent, after(stored[3], charge))
  end
end

local function settle_budget(key, held, charge, field, bucket)
  local stored = redis.call('HMGET', key, 'bucket', 'used', field)
  if stored[1] == bucket and stored[3] then
    redis.call('HSET', key, 'used', after(stored[2], charge - held), field, after(stored[3], -held))
  end
end

local function declare(key, kind, held, field, bucket)
  if kind == 'B' then
    local stored = redis.call('HGET', key, 'bucket')
    if stored and stored ~= bucket then
      return
    elseif not stored then
      redis.call('HSET', key, 'bucket', bucket)
      redis.call('PEXPIRE', key, BUDGET_KEPT_MS)
    end
  end
  redis.call('HINCRBY', key, 'used', after(0, held))
  redis.call('HINCRBY', key, field, after(0, held))
end

-- What many calls say of one purse is written once, when all of it is known.
local SETTLED = {w = settle_account, b = settle_budget}
local sums = {} -- by key: kind, held, charge, field, and the field or period behind it

local function write_sum(key, sum)
  SETTLED[sum[1]](key, sum[2], sum[3], sum[4], sum[5])
end

local function settle(key, kind, held, charge, field, last)
  local sum = sums[key]
  if sum and sum[4] == field and sum[5] == last then
    sum[2], sum[3] = sum[2] + held, sum[3] + charge
    return
  elseif sum then
    write_sum(key, sum)
  end
  sums[key] = {kind, held, charge, field, last}
end

local key, at = 3, 2
while at <= #ARGV do
  local id, reserved_at, tokens, money = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local back = {t = tokens, T = tokens, m = money, M = money}
  local rules = tonumber(ARGV[at + 4])
  at = at + 5
  for _ = 1, rules do
    local meter, amount, window = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local width = 3
    if meter == 'p' then
      release_probe(ARGV[at + 1], id)
    elseif SETTLED[meter] then
      settle(KEYS[key], meter, amount, window, ARGV[at + 3], ARGV[at + 4])
      key, width = key + 1, 5
    elseif meter == 'W' or meter == 'B' then
      if sums[KEYS[key]] then
        write_sum(KEYS[key], sums[KEYS[key]])
        sums[KEYS[key]] = nil
      end
      declare(KEYS[key], meter, amount, ARGV[at + 3], ARGV[at + 4])
      key, width = key + 1, 5
    else
      if meter == 'c' then
        redis.call('ZREM', KEYS[key], id)
      elseif meter == 't' or meter == 'm' then
        correct_window(KEYS[key], back[meter], reserved_at, window)
      else
        correct_gcra(KEYS[key], back[meter], reserved_at, amount, window)
      end
      key = key + 1
    end
    at = at + width
  end
end
for purse, sum in pairs(sums) do -- in any order: each is another key
  write_sum(purse, sum)
end
return 1
