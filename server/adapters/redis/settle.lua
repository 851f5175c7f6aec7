-- settle(prefix, node, most) -> how many were looked at
-- Users whose grace is over and who did not come back are offline. Any node settles for all.
local due = redis.call('ZRANGEBYSCORE', grace, '-inf', now_ms, 'LIMIT', 0, ARGV[3])
for _, user in ipairs(due) do
  redis.call('ZREM', grace, user)
  local here = devices(user)
  refresh(user, here, tonumber(redis.call('HGET', key('p', user), 'lo') or now_us))
end
tell()
return #due
