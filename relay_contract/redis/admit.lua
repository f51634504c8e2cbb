-- Reserves one call against every rule it falls under: all of them are checked before any is counted.
--
-- KEYS   one per rule (keys.py): a `window` hash for meter "requests", a `leases` sorted set for "concurrency"
-- ARGV   [1] reservation id, then for each rule: meter ("r" requests, "c" concurrency), amount, window in ms
--        (for "c" the window is the lease: a call that is neither settled nor renewed frees its place after it)
-- reply  0 when the call is reserved; {rule, retry_after_ms} when a rule refuses it, rule counting from 1
--
-- Example: EVALSHA <sha> 2 {relay}:window:key:7:3:0 {relay}:leases:key:7:3:1 6f1d... r 600 60000 c 10 120000
--
-- Time is the server's, so that edges need not agree on theirs. Requests are counted in two buckets of one window each:
-- count = current + previous * (share of the previous bucket that the sliding window still covers). Integers below 2^53.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local counts = {}

for rule = 1, #KEYS do
  local key = KEYS[rule]
  local at = rule * 3 - 1
  local amount, window = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if ARGV[at] == 'r' then
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
    if previous * (window - elapsed) + (current + 1) * window > amount * window then
      local wait
      if amount < 1 then
        wait = window
      elseif current + 1 > amount then -- the next bucket, once enough of this one has slid out
        wait = window - elapsed + math.ceil(window * (1 - (amount - 1) / current))
      else
        wait = math.ceil(window * (1 - (amount - 1 - current) / previous)) - elapsed
      end
      return {rule, math.max(wait, 1)}
    end
    counts[rule] = {bucket, current + 1, previous}
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= amount then
      return {rule, math.min(window, 1000)} -- nobody knows when a call in flight ends; a second is a civil wait
    end
  end
end

for rule = 1, #KEYS do
  local key = KEYS[rule]
  local window = tonumber(ARGV[rule * 3 + 1])
  local count = counts[rule]
  if count then
    redis.call('HSET', key, 'bucket', count[1], 'current', count[2], 'previous', count[3])
    redis.call('PEXPIRE', key, window * 2)
  else
    redis.call('ZADD', key, now + window, ARGV[1])
    redis.call('PEXPIRE', key, window)
  end
end
return 0
