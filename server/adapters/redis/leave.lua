-- leave(prefix, node) -> 'ok': the node ends in good order, with nobody registered any more.
local watched = redis.call('SMEMBERS', key('x', node))
for _, user in ipairs(watched) do redis.call('SREM', key('w', user), node) end
redis.call('DEL', key('x', node))
if redis.call('EXISTS', key('n', node)) == 0 then forget(node) end
return 'ok'
