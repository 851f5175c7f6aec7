-- settle(prefix, node, most) -> how many were looked at
-- Users whose debounce is over and who did not come back are offline. Any node settles for all.
local due = redis.call('ZRANGEBYSCORE', grace, '-inf', now_ms, 'LIMIT', 0, ARGV[3])
for _, user in ipairs(due) do
  redis.call('ZREM', grace, user)
  if is_online(user) and not has_sessions(user) then
    changed(user, tonumber(redis.call('HGET', key('p', user), 'ls') or now_us))
  end
end
tell()
return #due
