-- Decides everything about one call: checks every rule it falls under and every purse it is paid from, chooses the
-- first offer whose breakers and limits let it through, and only then counts it everywhere at once. Time is the
-- server's, so edges need not agree on theirs.
--
-- KEYS   [1] `BREAKERS`, then one per rule (keys.py): the caller's, then those of each offer; where purses are asked
--        `MONEY`, then one per budget, then of each payer its account's and, where it has one, its cap's
-- ARGV   [1] reservation id, [2] tokens and [3] nano-USD that the call may use at most,
--        [4] how many rules the caller has, then each as four: meter, amount, window in ms, burst
--        then how many offers there are, and each as: field of its host key's breaker, of its binding's, of its host
--        key's for this model, how many rules its host key has, and these rules as above
--        A meter is r(equests), t(okens) or m(oney) in a sliding window, R, T or M the same by GCRA (with a burst), and
--        c(oncurrency), where the window is the lease: a call neither settled nor renewed frees its place after it.
--        Where purses are asked: `MONEY` as the edge knows it (0:0:<run id of its server> where it does not), the field
--        in which it holds under that, the price and what is asked with the mark-up; how many budgets, and each as two:
--        limit, period (d, w, m); how many payers, in order of preference, and each as two: whether it pays the
--        mark-up, whether it has a cap, and then as two more: the cap's limit and period. Budgets count the mark-up
-- reply  {0, now in ms, offer, changes, wait, ...} admitted: the offer counts from 1; 0: none can be had before `wait`
--        ms, and no purse holds anything. Where purses were asked three stand behind the rest: the payer, from 1 (0:
--        nobody was asked to pay), generation and seed of `MONEY`, 0 where they are as the edge knows them
--        {1, now in ms, rule, 0, wait, ...} refused: the caller's rule, from 1, and the wait in ms
--        {2, now in ms, budget, used} refused: a budget, from 1, and what of it is spent and held
--        {3, now in ms, granted, used, held} refused: no payer has enough; the figures of the last one
--        {4, now in ms} refused: there is no money in this Redis, or it is another's (keys.MONEY)
--        Whatever refuses, nothing was counted anywhere
--        `changes` adds up: 1, 2, 4 the call probes the first, second, third breaker; 8, 16, 32 it is closed from now on
--        `...` for each of the caller's rules but leases: what is left, and in how many ms all of it will be
--
-- Example: EVALSHA <sha> 2 {relay}:breakers {relay}:window:key:7:3:0 6f1d... 0 0 1 r 600 60000 0
--          1 host_key:9f86... binding:4 host_key:9f86...:gpt-5 0
--
-- A sliding window has two buckets of one window each: count = current + previous * (share of the previous bucket that
-- the window still covers). GCRA is kept as what is owed, draining at amount / window; a call above the burst is admitted
-- when nothing is owed and owes the rest. All numbers are integers below 2^53. A call that needs nothing of a meter is not
-- held up by it.

local SIDES = 3 -- breakers before an offer
local PROBE_MS = 60000 -- a probe that nobody reports on may be repeated after it
local BUDGET_KEPT_MS = 40 * 86400000 -- a budget's count is of no use after its period
local LEASE_WAIT_MS = 1000 -- nobody knows when a call in flight ends; a second is a civil wait

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_us = time[1] * 1000000 + time[2]
local tokens, money = tonumber(ARGV[2]), tonumber(ARGV[3])
local need = {r = 1, t = tokens, m = money, R = 1, T = tokens, M = money}
local is_gcra = {R = true, T = true, M = true}

local function in_window(key, wanted, amount, window)
  local bucket = math.floor(now / window)
  local elapsed = now - bucket * window
  local stored = redis.call('HMGET', key, 'bucket', 'current', 'previous')
  local current, previous = 0, 0
  local age = bucket - (tonumber(stored[1]) or 0)
  if age <= 0 then -- below 0 only where the clock stepped back: count on in the newer bucket
    current, previous = tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
    bucket = bucket - age
  elseif age == 1 then
    previous = tonumber(stored[2]) or 0
  end
  local left = amount - current - math.ceil(previous * (window - elapsed) / window)
  local reset = current > 0 and 2 * window - elapsed or previous > 0 and window - elapsed or 0
  if wanted == 0 or wanted <= left then
    local plan = wanted > 0 and {'w', key, bucket, current + wanted, previous, window}
    return nil, plan, left - wanted, wanted > 0 and 2 * window - elapsed or reset
  elseif wanted > amount then
    return window, nil, left, reset
  elseif current + wanted > amount then -- the next bucket, once enough of this one has slid out
    return window - elapsed + math.ceil(window * (1 - (amount - wanted) / current)), nil, left, reset
  end
  return math.ceil(window * (1 - (amount - wanted - current) / previous)) - elapsed, nil, left, reset
end

local function by_gcra(key, wanted, amount, window, burst)
  local rate = amount / (window * 1000) -- drained in a microsecond
  local stored = redis.call('HMGET', key, 'owed', 'at')
  local owed, at = tonumber(stored[1]) or 0, tonumber(stored[2]) or now_us
  local drained = math.floor(math.max(now_us - at, 0) * rate)
  if drained >= owed then
    owed, at = 0, now_us
  elseif drained > 0 then
    owed, at = owed - drained, at + math.ceil(drained / rate)
  end
  if amount < 1 then
    return wanted > 0 and window or nil, nil, 0, 0
  end
  local least = math.min(wanted, burst) -- that has to be free
  if wanted > amount then
    return window, nil, burst - owed, math.ceil(owed / rate / 1000)
  elseif wanted > 0 and owed + least > burst then
    return math.ceil((owed + least - burst) / rate / 1000), nil, burst - owed, math.ceil(owed / rate / 1000)
  end
  owed = owed + wanted
  local reset = math.ceil(owed / rate / 1000)
  return nil, wanted > 0 and {'g', key, owed, at, reset}, burst - owed, reset
end

-- Looks at one rule: nil and how to count the call, or the wait in ms. Then what is left, and when all of it will be.
local function look(key, at)
  local meter, amount, window = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if meter == 'c' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= amount then
      return math.min(window, LEASE_WAIT_MS)
    end
    return nil, {'c', key, window}
  elseif is_gcra[meter] then
    return by_gcra(key, need[meter], amount, window, tonumber(ARGV[at + 3]))
  end
  return in_window(key, need[meter], amount, window)
end

local function count(plans)
  for _, plan in ipairs(plans) do
    local kind, key = plan[1], plan[2]
    if kind == 'w' then
      redis.call('HSET', key, 'bucket', plan[3], 'current', plan[4], 'previous', plan[5])
      redis.call('PEXPIRE', key, plan[6] * 2)
    elseif kind == 'g' then
      redis.call('HSET', key, 'owed', plan[3], 'at', plan[4])
      redis.call('PEXPIRE', key, plan[5] + 1000)
    else
      redis.call('ZADD', key, now + plan[3], ARGV[1])
      redis.call('PEXPIRE', key, plan[3])
    end
  end
end

-- A breaker's word: the wait in ms (0: go on), then what the call would do to it ("probe", "close"), its entry, and
-- whether the call is one that a slow start holds back.
local function ask(stored)
  if not stored then
    return 0
  end
  local entry = cjson.decode(stored)
  local left = entry.until_ms - now
  if entry.state == 'half_open' then
    left = entry.probe_until_ms - now
    if left > 0 then
      return math.min(left, 1000) -- the probe will have its answer before that
    end
    return 0, 'probe', entry
  elseif entry.state == 'slow_start' then
    if left <= 0 then
      return 0, 'close', entry
    end
    local share = 10 + 90 * (now - entry.since_ms) / math.max(entry.until_ms - entry.since_ms, 1)
    return 0, nil, nil, time[2] % 100 >= share
  elseif left > 0 then
    return left
  elseif entry.state == 'open' then
    return 0, 'probe', entry
  end
  return 0
end

-- The caller's own rules.
local rules = tonumber(ARGV[4])
local refused, refused_wait
local plans, answer = {}, {0, now, 0, 0, 0}
for rule = 1, rules do
  local at = rule * 4 + 1
  local wait, plan, left, reset = look(KEYS[rule + 1], at)
  if wait and not refused then
    refused, refused_wait = rule, math.max(wait, 1)
  end
  if plan then
    plans[#plans + 1] = plan
  end
  if left then
    answer[#answer + 1] = math.max(left, 0)
    answer[#answer + 1] = reset
  end
end
if refused then
  answer[1], answer[3], answer[5] = 1, refused, refused_wait
  return answer
end

-- The offers: where each one's arguments and keys begin, and what its breakers say.
local at = rules * 4 + 5
local offers, key, fields = {}, rules + 2, {}
for offer = 1, tonumber(ARGV[at]) do
  offers[offer] = {at = at + 1, key = key, rules = tonumber(ARGV[at + SIDES + 1])}
  for side = 1, SIDES do
    fields[#fields + 1] = ARGV[at + side]
  end
  key = key + offers[offer].rules
  at = at + SIDES + 1 + offers[offer].rules * 4
end

-- The purses: all of the budgets have room, and one of the payers. A call that asks none makes none of these functions.
local held, holding -- what the purses hold once the call is admitted: key, used, held by this process, new bucket
local paid_by, generation, seed = 0, 0, 0
local at_purses, money_key = at + 1, key
if ARGV[at_purses] then
  local price, most = tonumber(ARGV[at_purses + 2]), tonumber(ARGV[at_purses + 3])
  held, holding = {}, ARGV[at_purses + 1]

  -- nil and what is used where it has too little room, else what it is to hold.
  local function in_budget(key, need, limit, letter)
    local DAY_MS = 86400000
    -- The number of the calendar period that a moment is in, UTC; the same sums as periods.py.
    local function period(letter, ms)
      local days = math.floor(ms / DAY_MS)
      if letter == 'd' then
        return days
      elseif letter == 'w' then
        return math.floor((days + 3) / 7)
      end
      local since = days + 719468 -- days since 0000-03-01; years from March, so that a leap day is a year's last
      local era = math.floor(since / 146097)
      local of_era = since - era * 146097
      local year = math.floor(
        (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365
      )
      local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
      local from_march = math.floor((5 * of_year + 2) / 153)
      return (era * 400 + year) * 12 + from_march + 2
    end

    local stored = redis.call('HMGET', key, 'bucket', 'used', holding)
    local bucket, used, mine = period(letter, now), tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
    local is_new = tonumber(stored[1]) ~= bucket
    if is_new then
      used, mine = 0, 0
    end
    if need > 0 and used + need > limit then
      return nil, used
    end
    return {key, used + need, mine + need, is_new and bucket}
  end

  local marker = redis.call('GET', KEYS[money_key])
  if marker ~= ARGV[at_purses] then
    local found, found_seed, run_id = string.match(marker or '', '^(%d+):(%d+):(%w+)$')
    if not found or run_id ~= string.match(ARGV[at_purses], '%w+$') then
      return {4, now}
    end
    generation, seed = tonumber(found), tonumber(found_seed)
    holding = string.match(holding, '^h:%x+:') .. found
  end
  local at, key = at_purses + 5, money_key + 1
  for budget = 1, tonumber(ARGV[at - 1]) do
    local plan, used = in_budget(KEYS[key], most, tonumber(ARGV[at]), ARGV[at + 1])
    if not plan then
      return {2, now, budget, used}
    end
    held[budget] = plan
    at, key = at + 2, key + 1
  end
  local payers = tonumber(ARGV[at])
  at = at + 1
  for payer = 1, payers do
    local need, has_cap = ARGV[at] == '1' and most or price, ARGV[at + 1] == '1'
    local stored = redis.call('HMGET', KEYS[key], 'granted', 'used', holding)
    local granted, used = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
    local can_pay = need == 0 or need <= granted - used
    local capped = can_pay and has_cap and in_budget(KEYS[key + 1], need, tonumber(ARGV[at + 2]), ARGV[at + 3])
    if can_pay and (capped or not has_cap) then
      held[#held + 1] = {KEYS[key], used + need, (tonumber(stored[3]) or 0) + need}
      held[#held + 1] = capped or nil
      paid_by = payer
      break
    elseif payer == payers then
      local sum, fields = 0, redis.call('HGETALL', KEYS[key])
      for place = 1, #fields, 2 do
        if string.sub(fields[place], 1, 2) == 'h:' then
          sum = sum + tonumber(fields[place + 1])
        end
      end
      return {3, now, granted, used, sum}
    end
    at, key = at + (has_cap and 4 or 2), key + (has_cap and 2 or 1)
  end
end

local stored = #fields > 0 and redis.call('HMGET', KEYS[1], unpack(fields)) or {}

local function choose(number, offer, is_shy_welcome)
  local waits, steps, entries, changes = 0, {}, {}, 0
  local is_shy = false
  for side = 1, SIDES do
    local wait, step, entry, shy = ask(stored[(number - 1) * SIDES + side])
    waits, is_shy = math.max(waits, wait), is_shy or shy
    steps[side], entries[side] = step, entry
  end
  if waits > 0 or (is_shy and not is_shy_welcome) then
    return waits, is_shy
  end
  local wanted = {}
  for rule = 1, offer.rules do
    local wait, plan = look(KEYS[offer.key + rule - 1], offer.at + SIDES + rule * 4 - 3)
    if wait then
      return math.max(wait, 1), false
    end
    wanted[#wanted + 1] = plan or nil
  end
  count(wanted)
  for side = 1, SIDES do
    local field = fields[(number - 1) * SIDES + side]
    if steps[side] == 'probe' then
      local entry = entries[side]
      if entry.state == 'open' then
        entry.since_ms = now
      end
      entry.state, entry.probe, entry.probe_until_ms = 'half_open', ARGV[1], now + PROBE_MS
      redis.call('HSET', KEYS[1], field, cjson.encode(entry))
      changes = changes + 2 ^ (side - 1)
    elseif steps[side] == 'close' then
      redis.call('HDEL', KEYS[1], field)
      changes = changes + 2 ^ (SIDES + side - 1)
    end
  end
  answer[3], answer[4] = number, changes
  return nil
end

local soonest, shy_ones = nil, {}
for number, offer in ipairs(offers) do
  local wait, is_shy = choose(number, offer, false)
  if not wait then
    break
  end
  if is_shy and wait == 0 then
    shy_ones[#shy_ones + 1] = number
  else
    soonest = math.min(soonest or wait, wait)
  end
end
for _, number in ipairs(shy_ones) do -- a slow start never turns away a call that has nowhere else to go
  if answer[3] > 0 then
    break
  end
  local wait = choose(number, offers[number], true)
  soonest = wait and math.min(soonest or wait, wait) or soonest
end
if answer[3] == 0 then
  answer[5] = soonest or 0
end
count(plans)
if held then
  local places = #answer
  answer[places + 1], answer[places + 2], answer[places + 3] = paid_by, generation, seed
  if answer[3] > 0 or #offers == 0 then
    for _, plan in ipairs(held) do
      -- Digits alone: some servers write a number of ours as 1e+12, which no other reader takes for one.
      local used, mine = string.format('%.0f', plan[2]), string.format('%.0f', plan[3])
      if plan[4] then -- a new period: nothing of the one before counts
        redis.call('DEL', plan[1])
        redis.call('HSET', plan[1], 'bucket', plan[4], 'used', used, holding, mine)
        redis.call('PEXPIRE', plan[1], BUDGET_KEPT_MS)
      else
        redis.call('HSET', plan[1], 'used', used, holding, mine)
      end
    end
  end
end
return answer
