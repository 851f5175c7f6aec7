-- route(prefix, node, call, number of users, users, then two for each item: who, rest) -> 'lost', 'done' or 'ok'
-- `who` begins with a letter: D durable, L of the latest-wins lane, N for every other node, G for a gap at every other
-- node (their counters go on and nothing is sent: they will notice and repair); then two bytes for each recipient, its
-- place among the users from 0. `rest` is the packed end of the item: a frame and a key.
-- Every user is looked up once; every node concerned gets one PUBLISH, each frame in it once with its list of users.
-- The bytes are put together here as MessagePack, ready for the receiver's decoder; nothing is decoded.
local refused = refusal(routes, ARGV[3])
if refused then return refused end
local DURABLE, GAP, NOTICE = 68, 71, 78

local function array(count) return struct.pack('>BI4', 221, count) end
local function text(value)
  local size = #value
  return string.char(218, math.floor(size / 256), size % 256) .. value
end

local amount = tonumber(ARGV[4])
local nodes_of, packed = {}, {}
for i = 1, amount do
  local user = ARGV[4 + i]
  local places, seen = {}, { [node] = true }
  for _, place in ipairs(redis.call('HVALS', key('c', user))) do
    if not seen[place] then
      seen[place] = true
      places[#places + 1] = place
    end
  end
  nodes_of[i], packed[i] = places, text(user)
end

local items, counted, targets = {}, {}, {}
local function add(target, item, counts)
  local list = items[target]
  if not list then
    list = {}
    items[target] = list
    targets[#targets + 1] = target
  end
  list[#list + 1] = item
  if counts then counted[target] = true end
end

local others
for i = 5 + amount, #ARGV, 2 do
  local who, rest = ARGV[i], ARGV[i + 1]
  local kind = who:byte(1)
  if kind == NOTICE or kind == GAP then
    others = others or redis.call('ZRANGEBYSCORE', nodes, now_ms, '+inf')
    for _, target in ipairs(others) do
      if target ~= node and kind == GAP then redis.call('HINCRBY', counters, target, 1) end
      if target ~= node and kind == NOTICE then add(target, '\147\192' .. rest, true) end
    end
  else
    local lists, touched = {}, {}
    for j = 2, #who, 2 do
      local high, low = who:byte(j, j + 1)
      local place = high * 256 + low + 1
      for _, target in ipairs(nodes_of[place]) do
        local list = lists[target]
        if not list then
          list = {}
          lists[target] = list
          touched[#touched + 1] = target
        end
        list[#list + 1] = packed[place]
      end
    end
    for _, target in ipairs(touched) do
      local list = lists[target]
      add(target, '\147' .. array(#list) .. table.concat(list) .. rest, kind == DURABLE)
    end
  end
end

for _, target in ipairs(targets) do
  local counter = counted[target] and cmsgpack.pack(redis.call('HINCRBY', counters, target, 1)) or '\192'
  local list = items[target]
  redis.call('PUBLISH', key('node', target), '\147\001' .. counter .. array(#list) .. table.concat(list))
end
return 'ok'
