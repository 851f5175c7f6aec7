-- What every script begins with. ARGV[1] is the prefix of all keys, ARGV[2] the caller's node.
-- Users, sessions and nodes are opaque: they are never searched for separators, and only packed inside values.
-- Numbers go to Redis as they are ('%.17g' there); `..` would cut them to 14 digits.
local prefix, node = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function key(kind, name) return prefix .. kind .. ':' .. name end
local nodes, counters, grace, epoch = prefix .. 'nodes', prefix .. 'bn', prefix .. 'grace', prefix .. 'epoch'
local registers, routes = prefix .. 'registers', prefix .. 'routes'

local function is_leased()
  local expires_ms = redis.call('ZSCORE', nodes, node)
  return expires_ms and tonumber(expires_ms) >= now_ms
end

-- Nil when the call, numbered in the hash `calls`, may be done. 'lost': the node has no lease, so others may have reaped it. 'done': this call has been
-- made before; its answer was lost, or a newer one overtook it.
local function refusal(calls, call)
  if not is_leased() then return 'lost' end
  local last = redis.call('HGET', calls, node)
  if last and tonumber(last) >= tonumber(call) then return 'done' end
  redis.call('HSET', calls, node, call)
  return nil
end

local function forget(name)
  redis.call('ZREM', nodes, name)
  redis.call('HDEL', counters, name)
  redis.call('HDEL', registers, name)
  redis.call('HDEL', routes, name)
end

-- A session's place is its node, with a sign in front: `+` somebody looks, `-` nobody does, `?` it is not counted yet.
local function node_of(place) return place:sub(2) end

-- 0 offline, 1 online, 2 away (every device that counts is idle); 3 do not disturb is only wished for.
local function devices(user)
  local found = 0
  for _, place in ipairs(redis.call('HVALS', key('c', user))) do
    local sign = place:byte(1)
    if sign == 43 then return 1 end
    if sign == 45 then found = 2 end
  end
  return found
end

local shown_as = { away = 2, dnd = 3, invisible = 0 }
local news, readers = {}, {}

-- What others are told of when the user was last seen.
local function told_seen(seen_us, rounds)
  local at = tonumber(seen_us or 0)
  if rounds == '1' then at = at - at % 3600000000 end
  return at
end

-- The user's devices say `here` now (lost at `lost_us`, when that is 0): if that is shown otherwise than before it is
-- remembered, and collected for the nodes that watch.
local function refresh(user, here, lost_us)
  local presence = key('p', user)
  local known = redis.call('HMGET', presence, 's', 'v', 'x', 'o', 't', 'r')
  local before, status, text = tonumber(known[1] or 0), here, ''
  if here > 0 then status = shown_as[known[4]] or here end
  if status > 0 then text = known[5] or '' end
  if status == before and text == (known[3] or '') then return end
  -- Above what `watch` told of a user that is not known, too, though the clock may have stepped back since.
  local v = math.max(tonumber(known[2] or redis.call('HGET', epoch, 'us') or 0) + 1, now_us)
  local change, seen_us = 2, 0
  if before == 0 then change = 0 end
  if status == 0 then
    change, seen_us = 1, lost_us or now_us
    redis.call('HSET', presence, 's', 0, 'v', v, 'x', '', 'ls', seen_us)
    redis.call('EXPIRE', presence, 7776000)
  else
    redis.call('HSET', presence, 's', status, 'v', v, 'x', text)
    if before == 0 then redis.call('PERSIST', presence) end
  end
  local item = { user, status, v, change, told_seen(seen_us, known[6]), text }
  for _, reader in ipairs(redis.call('SMEMBERS', key('w', user))) do
    if not news[reader] then
      news[reader] = {}
      readers[#readers + 1] = reader
    end
    table.insert(news[reader], item)
  end
end

local function tell()
  for _, reader in ipairs(readers) do
    redis.call('PUBLISH', key('node', reader), cmsgpack.pack({ 2, news[reader] }))
  end
end
