-- watch(prefix, node, then two for each user: '1' watch | '?' only look | '0' watch no more, user)
--   -> 'lost', or four for each '1' and '?': status, version, last seen, text
-- Of a user that is not known a version is told that is no lower than any from before the directory was emptied.
if not is_leased() then return 'lost' end
local floor, states = tonumber(redis.call('HGET', epoch, 'us') or now_us), {}
for i = 3, #ARGV, 2 do
  local user = ARGV[i + 1]
  if ARGV[i] == '1' then
    redis.call('SADD', key('w', user), node)
    redis.call('SADD', key('x', node), user)
  end
  if ARGV[i] ~= '0' then
    local known = redis.call('HMGET', key('p', user), 's', 'v', 'ls', 'r', 'x')
    states[#states + 1] = tonumber(known[1] or 0)
    states[#states + 1] = math.max(tonumber(known[2] or 0), floor)
    states[#states + 1] = told_seen(known[3], known[4])
    states[#states + 1] = known[5] or ''
  else
    redis.call('SREM', key('w', user), node)
    redis.call('SREM', key('x', node), user)
  end
end
return states
