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

local function is_online(user) return redis.call('HGET', key('p', user), 's') == '1' end
local function has_sessions(user) return redis.call('EXISTS', key('c', user)) == 1 end

local news, readers = {}, {}

-- The user is online, or offline since `seen_us`: remembered, and collected for the nodes that watch.
local function changed(user, seen_us)
  local presence = key('p', user)
  local v = math.max(tonumber(redis.call('HGET', presence, 'v') or 0) + 1, now_us)
  local item = { user, not seen_us, v }
  if seen_us then
    item[4] = seen_us
    redis.call('HSET', presence, 's', 0, 'v', v, 'ls', seen_us)
    redis.call('EXPIRE', presence, 7776000)
  else
    redis.call('HSET', presence, 's', 1, 'v', v)
    redis.call('PERSIST', presence)
  end
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
