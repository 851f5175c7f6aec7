-- One decision of a rate limit; server/core/limiting.py counts just alike, and one suite holds both together.
-- KEYS: 1 the count. ARGV: kind, limit, span (µs of one token, or ms of the window), cost, lifetime in ms,
-- and for tests the time in µs instead of Redis's own. Answers {allowed, remaining, reset_s, retry_after_ms}.
local kind, limit, span, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local kept = redis.call('HMGET', KEYS[1], 'a', 'c', 'p')
local at, current, previous = tonumber(kept[1]), tonumber(kept[2]) or 0, tonumber(kept[3]) or 0

local function up(amount, per)
  return math.ceil(amount / per)
end

local function keep(a, c, p)
  -- Lua would write large numbers as 1.8e+15.
  redis.call('HSET', KEYS[1], 'a', string.format('%.0f', a), 'c', c, 'p', p)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end

if kind == 'bucket' then
  local whole = limit * span
  local full_at = math.min(math.max(now, at or now), now + whole)
  local missing = full_at - now + cost * span
  local allowed = missing <= whole
  if allowed then
    full_at = now + missing
  end
  -- What lay too far ahead, as after a clock stepped back, is brought near also by a refusal.
  if allowed or at > full_at then
    keep(full_at, 0, 0)
  end
  local left = full_at - now
  return {allowed and 1 or 0, math.floor((whole - left) / span), up(left, 1000000),
    allowed and 0 or up(missing - whole, 1000)}
end

now = math.floor(now / 1000)
if kind == 'sliding' then
  local began = now - now % span
  if not at or at < began then
    previous = (at == began - span) and current or 0
    current = 0
  end
  local passed = now - began
  local room = limit * span - previous * (span - passed) - current * span
  local allowed = cost * span <= room
  local retry = 0
  if allowed then
    current = current + cost
    room = room - cost * span
  elseif current + cost <= limit then
    retry = span - math.floor((limit - current - cost) * span / previous) - passed
  else
    retry = 2 * span - passed - math.floor((limit - cost) * span / current)
  end
  if allowed or at > began then
    keep(began, current, previous)
  end
  local reset = current > 0 and 2 * span - passed or span - passed
  return {allowed and 1 or 0, math.max(0, math.floor(room / span)), math.max(1, up(reset, 1000)), retry}
end

local began = now
if at and now < at + span then
  began = math.min(at, now)
else
  current = 0
end
local allowed = current + cost <= limit
if allowed then
  current = current + cost
end
if allowed or at > began then
  keep(began, current, 0)
end
local left = began + span - now
return {allowed and 1 or 0, limit - current, math.max(1, up(left, 1000)), allowed and 0 or left}
