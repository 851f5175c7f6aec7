-- register(prefix, node, call, then eight for each change: user, session, both packed, and `+`, `-` or `?` or, of one
-- that is gone, for how many ms its user counts as here; the version of the user's wish, and the wish: status, text, rounds)
--   -> 'lost', 'done' or 'ok'
-- Who comes is shown at once; who has no session left is offline after the grace, as of now.
local refused = refusal(registers, ARGV[3])
if refused then return refused end
local index = key('n', node)

local function wish(user, version, status, text, rounds)
  local presence = key('p', user)
  if tonumber(redis.call('HGET', presence, 'ov') or 0) >= version then return end
  redis.call('HSET', presence, 'ov', version, 'o', status, 't', text, 'r', rounds)
  if (redis.call('HGET', presence, 's') or '0') == '0' then redis.call('EXPIRE', presence, 7776000) end
end

for i = 4, #ARGV, 8 do
  local user, session, packed, how = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local sessions, grace_ms = key('c', user), tonumber(how)
  if not grace_ms then
    redis.call('HSET', sessions, session, how .. node)
    redis.call('SADD', index, packed)
    if how ~= '?' then
      redis.call('ZREM', grace, user)
      local version = tonumber(ARGV[i + 4])
      if version > 0 then wish(user, version, ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]) end
      refresh(user, devices(user))
    end
  else
    local place = redis.call('HGET', sessions, session)
    if place and node_of(place) == node then
      redis.call('HDEL', sessions, session)
      redis.call('SREM', index, packed)
      local here = devices(user)
      if place:byte(1) ~= 63 then
        if here > 0 or grace_ms == 0 then
          refresh(user, here)
        else
          redis.call('HSET', key('p', user), 'lo', now_us)
          redis.call('ZADD', grace, now_ms + grace_ms, user)
        end
      end
    end
  end
end
tell()
return 'ok'
