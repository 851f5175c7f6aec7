-- lease(prefix, node, lease_ms, 'take' | 'renew', name for a new epoch, what the beat brings back)
--   -> 'lost', or {epoch, durable counter, nodes whose lease is over}
-- One that ran out is never renewed. Every call also sends a beat through the node's own channel.
if ARGV[4] == 'renew' and not is_leased() then return 'lost' end
redis.call('ZADD', nodes, now_ms + tonumber(ARGV[3]), node)
if redis.call('HSETNX', epoch, 'id', ARGV[5]) == 1 then redis.call('HSET', epoch, 'us', now_us) end
local counter = tonumber(redis.call('HGET', counters, node) or 0)
redis.call('PUBLISH', key('node', node), cmsgpack.pack({ 3, counter, tonumber(ARGV[6]) }))
return { redis.call('HGET', epoch, 'id'), counter, redis.call('ZCOUNT', nodes, '-inf', '(' .. string.format('%.0f', now_ms)) }
