-- Tells breakers how calls went, and moves those that have to open or may close.
--
-- KEYS   [1] `BREAKERS`, then `health` of each breaker reported on (keys.py)
-- ARGV   [1] how long a slow start takes, in ms; then for each breaker: its field, slug of the host, id of the row,
--        reservation id of the call where that was a probe, else "", number of calls that went well,
--        class of one that failed, else "", and of that class: the rule ("threshold" or "at_once"), first and longest time
--        to stay open in ms, the host's Retry-After in ms (0: it named none), and up to which time the breaker only pauses
-- reply  one {breaker, state before, state now, reason, ms until it is tried again} for each that changed; breakers from 1
--
-- Example: EVALSHA <sha> 2 {relay}:breakers {relay}:health:binding:4 10000
--          binding:4 vendor 4 "" 12 server threshold 5000 300000 0 0
--
-- Threshold: of the calls of the last 30 s (20 to 30: three slots of ten seconds) 5 failed and that is half, or 3 failed
-- and none went well. Each time that a breaker opens anew before it was closed it stays open twice as long.
-- What comes back while a breaker is open was sent before it opened, and moves it no more.

local SLOT_MS, KEEP_MS = 10000, 172800000
local MOST_KEPT = 512 -- entries; beyond it those whose time is long over are swept out

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local slow_start_ms = tonumber(ARGV[1])
local changes = {}

-- Counts calls in the slot of now; answers what the last three slots hold.
local function calls_of(key, well, failed)
  local slot = math.floor(now / SLOT_MS)
  local stored = redis.call('GET', key)
  local held = stored and cjson.decode(stored) or {slot = slot, well = {0, 0, 0}, failed = {0, 0, 0}}
  for _ = 1, math.min(math.max(slot - held.slot, 0), 3) do
    table.insert(held.well, 1, 0)
    table.insert(held.failed, 1, 0)
    held.well[4], held.failed[4] = nil, nil
  end
  held.slot = math.max(slot, held.slot)
  held.well[1], held.failed[1] = held.well[1] + well, held.failed[1] + failed
  redis.call('SET', key, cjson.encode(held), 'PX', SLOT_MS * 4)
  return held.well[1] + held.well[2] + held.well[3], held.failed[1] + held.failed[2] + held.failed[3]
end

local function write(field, entry)
  redis.call('HSET', KEYS[1], field, cjson.encode(entry))
  redis.call('PEXPIRE', KEYS[1], KEEP_MS)
end

local function sweep()
  if redis.call('HLEN', KEYS[1]) <= MOST_KEPT then
    return
  end
  local all = redis.call('HGETALL', KEYS[1])
  for place = 1, #all, 2 do
    local entry = cjson.decode(all[place + 1])
    if now - entry.until_ms > (entry.state == 'open' and 3600000 or 60000) then
      redis.call('HDEL', KEYS[1], all[place])
    end
  end
end

local function changed(breaker, before, entry, reason)
  local ms = entry and entry.state == 'open' and entry.until_ms - now or 0
  changes[#changes + 1] = {breaker, before, entry and entry.state or 'closed', reason, ms}
end

for breaker = 1, #KEYS - 1 do
  local at = breaker * 11 - 9
  local field, probe, well, class = ARGV[at], ARGV[at + 3], tonumber(ARGV[at + 4]), ARGV[at + 5]
  local is_threshold = ARGV[at + 6] == 'threshold'
  local stored = redis.call('HGET', KEYS[1], field)
  local entry = stored and cjson.decode(stored) or nil
  local state = entry and entry.state or 'closed'
  local is_probe = state == 'half_open' and probe ~= '' and entry.probe == probe

  if well > 0 and is_probe then
    entry.state, entry.since_ms, entry.until_ms, entry.probe = 'slow_start', now, now + slow_start_ms, nil
    write(field, entry)
    changed(breaker, state, entry, 'recovered')
    state = 'slow_start'
  elseif well > 0 and (state == 'slow_start' or state == 'paused') and now >= entry.until_ms then
    redis.call('HDEL', KEYS[1], field)
    if state == 'slow_start' then
      changed(breaker, state, nil, 'recovered')
    end
    entry, state = nil, 'closed'
  end

  if class == '' then
    if is_threshold and (state == 'closed' or state == 'slow_start') then
      calls_of(KEYS[breaker + 1], well, 0)
    end
  else
    local first, longest = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    local named, pause = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
    local is_over = not entry or now >= entry.until_ms -- of a pause
    local opens
    if state == 'half_open' then
      opens = is_probe
    elseif state == 'open' or (state == 'paused' and not is_over) then
      opens = false
      if not is_threshold and named > 0 and now + named > entry.until_ms then
        entry.until_ms = now + named -- the host has asked for more since
        if state == 'paused' and named > pause then
          opens = true
        else
          write(field, entry)
        end
      end
    elseif is_threshold then
      local all_well, all_failed = calls_of(KEYS[breaker + 1], well, 1)
      opens = (all_failed >= 5 and all_failed >= all_well) or (all_failed >= 3 and all_well == 0)
    else
      opens = true
    end
    if opens then
      local goes_on = entry and (is_probe or entry.reason == class) -- another reason begins anew
      local level = goes_on and entry.level + 1 or 0
      local ms = math.min(first * 2 ^ math.min(level, 30), longest)
      if named > 0 then
        ms = (is_probe or is_threshold) and math.max(named, ms) or named
      end
      local next_state = ms <= pause and not is_probe and state ~= 'slow_start' and 'paused' or 'open'
      if next_state == 'paused' and named > 0 then
        level = goes_on and entry.level or -1 -- a host that says when does not teach us to wait longer
      end
      entry = {state = next_state, reason = class, since_ms = now, until_ms = now + ms, level = level,
               host = ARGV[at + 1], row_id = tonumber(ARGV[at + 2])}
      write(field, entry)
      redis.call('DEL', KEYS[breaker + 1])
      sweep()
      if next_state == 'open' then
        changed(breaker, state == 'paused' and 'closed' or state, entry, class)
      end
    end
  end
end
return changes
