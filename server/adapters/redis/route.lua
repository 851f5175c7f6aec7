-- route(prefix, node, call, number of users, users, then two for each item: who, rest) -> 'lost', 'done' or 'ok'
-- `who` begins with a letter: D durable, L of the latest-wins lane, N for every other node, G for a gap at every other
-- node (their counters go on and nothing is sent: they will notice and repair); then two bytes for each recipient, its
-- place among the users from 0. `rest` is the packed end of the item: a frame and a key.
-- Every user is looked up once; every node concerned gets one PUBLISH, each frame in it once with its list of users.
-- The bytes are put together here as MessagePack, ready for the receiver's decoder; nothing is decoded.
local call = redis.call
local refused = refusal(routes, ARGV[3])
if refused then return refused end
local DURABLE, GAP, NOTICE = 68, 71, 78

-- The heads of MessagePack's arrays and texts; most are of few sizes. An item is an array of three, its users one in it.
local function heads(make)
  return setmetatable({}, {
    __index = function(known, size)
      known[size] = make(size)
      return known[size]
    end,
  })
end
local array = heads(function(size) return struct.pack('>BI4', 221, size) end)
local item_of = heads(function(size) return '\147' .. array[size] end)
local text = heads(function(size) return struct.pack('>BI2', 218, size) end)

local amount = tonumber(ARGV[4])
local nodes_of, packed, sessions_of = {}, {}, key('c', '')
for i = 1, amount do
  local user = ARGV[4 + i]
  local places = call('HVALS', sessions_of .. user)
  if #places == 1 then
    places = { node_of(places[1]) }
    if places[1] == node then places = {} end
  elseif #places > 1 then
    local seen, distinct = { [node] = true }, {}
    for _, place in ipairs(places) do
      place = node_of(place)
      if not seen[place] then
        seen[place] = true
        distinct[#distinct + 1] = place
      end
    end
    places = distinct
  end
  nodes_of[i], packed[i] = places, text[#user] .. user
end

-- For each target the pieces of its message, joined once at the end. An item is closed when the next one begins.
local messages, targets = {}, {}
local function message_for(target)
  local message = messages[target]
  if not message then
    message = { pieces = { '', '' }, size = 2, items = 0, item = 0, users = 0 }
    messages[target] = message
    targets[#targets + 1] = target
  end
  return message
end

local function close(message)
  if message.users > 0 then
    message.pieces[message.head] = item_of[message.users]
    message.size = message.size + 1
    message.pieces[message.size] = message.rest
    message.users = 0
  end
end

local function add_notice(item, kind, rest)
  for _, target in ipairs(call('ZRANGEBYSCORE', nodes, now_ms, '+inf')) do
    if target ~= node and kind == GAP then call('HINCRBY', counters, target, 1) end
    if target ~= node and kind == NOTICE then
      local message = message_for(target)
      close(message)
      local size = message.size
      message.pieces[size + 1], message.pieces[size + 2] = '\147\192', rest
      message.size, message.item = size + 2, item
      message.items, message.counts = message.items + 1, true
    end
  end
end

local function add_recipient(item, target, user, rest, counts)
  local message = messages[target] or message_for(target)
  if message.item ~= item then
    close(message)
    local size = message.size + 1
    message.pieces[size] = ''
    message.head, message.size, message.item, message.rest = size, size, item, rest
    message.items = message.items + 1
    message.counts = message.counts or counts
  end
  local size = message.size + 1
  message.pieces[size], message.size, message.users = user, size, message.users + 1
end

for i = 5 + amount, #ARGV, 2 do
  local who, rest = ARGV[i], ARGV[i + 1]
  local kind = who:byte(1)
  if kind == NOTICE or kind == GAP then
    add_notice(i, kind, rest)
  else
    for j = 2, #who, 2 do
      local high, low = who:byte(j, j + 1)
      local place = high * 256 + low + 1
      for _, target in ipairs(nodes_of[place]) do add_recipient(i, target, packed[place], rest, kind == DURABLE) end
    end
  end
end

for _, target in ipairs(targets) do
  local message = messages[target]
  close(message)
  local pieces = message.pieces
  pieces[1] = '\147\001' .. (message.counts and cmsgpack.pack(call('HINCRBY', counters, target, 1)) or '\192')
  pieces[2] = array[message.items]
  call('PUBLISH', key('node', target), table.concat(pieces))
end
return 'ok'
