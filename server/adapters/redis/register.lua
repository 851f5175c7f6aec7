-- register(prefix, node, call, debounce_ms, then four for each change: '1' | '0', user, session, both packed)
--   -> 'lost', 'done' or 'ok'
-- Who comes is online at once; who has no session left is offline after the debounce, as of now.
local refused = refusal(registers, ARGV[3])
if refused then return refused end
local index = key('n', node)
for i = 5, #ARGV, 4 do
  local user, session, packed = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local sessions = key('c', user)
  if ARGV[i] == '1' then
    redis.call('HSET', sessions, session, node)
    redis.call('SADD', index, packed)
    redis.call('ZREM', grace, user)
    if not is_online(user) then changed(user) end
  elseif redis.call('HGET', sessions, session) == node then
    redis.call('HDEL', sessions, session)
    redis.call('SREM', index, packed)
    if not has_sessions(user) then
      redis.call('HSET', key('p', user), 'ls', now_us)
      redis.call('ZADD', grace, now_ms + tonumber(ARGV[4]), user)
    end
  end
end
tell()
return 'ok'
