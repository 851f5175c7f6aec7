-- reap(prefix, node, most, lease_ms) -> 'lost', or 0 when every lease holds; more: come again
-- One piece of one node whose lease is over. Its users were last seen when it last renewed.
if not is_leased() then return 'lost' end
local dead = redis.call('ZRANGEBYSCORE', nodes, '-inf', '(' .. string.format('%.0f', now_ms), 'WITHSCORES', 'LIMIT', 0, 1)
if #dead == 0 then return 0 end
local name, seen_us = dead[1], (tonumber(dead[2]) - tonumber(ARGV[4])) * 1000
local gone = redis.call('SPOP', key('n', name), ARGV[3])
for _, packed in ipairs(gone) do
  local pair = cmsgpack.unpack(packed)
  local user, session = pair[1], pair[2]
  -- A session that its node registered anew belongs to that node's next incarnation.
  local place = redis.call('HGET', key('c', user), session)
  if place and node_of(place) == name then
    redis.call('HDEL', key('c', user), session)
    -- Who has just left through another node, and may be on the way to a third, is settled when that grace is over.
    if not redis.call('ZSCORE', grace, user) then refresh(user, devices(user), seen_us) end
  end
end
local removed = #gone
if removed == 0 then
  local watched = redis.call('SPOP', key('x', name), ARGV[3])
  for _, user in ipairs(watched) do redis.call('SREM', key('w', user), name) end
  removed = #watched
end
if removed == 0 then forget(name) end
tell()
return removed + 1
