-- Sessions with a lifetime. KEYS: one hash of a user for each change. ARGV: 1 lifetime in ms, then for each key the
-- session and what is kept of it (nothing: it is gone). In front of what is kept stands until when it holds, 13 digits.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life = tonumber(ARGV[1])
local till = string.format('%013.0f', now + life)
for place, key in ipairs(KEYS) do
  local session, kept = ARGV[2 * place], ARGV[2 * place + 1]
  if kept == '' then
    redis.call('HDEL', key, session)
  else
    redis.call('HSET', key, session, till .. kept)
    redis.call('PEXPIRE', key, life)
  end
end
return now
