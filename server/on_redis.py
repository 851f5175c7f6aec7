"""What a node of several has of Redis. Imported only by nodes that use it: the client takes long to load."""

from server.adapters.guard import Guard
from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.redis.bus import RedisBus, RedisBusSettings
from server.adapters.redis.client import close_client, make_client
from server.adapters.redis.limiter import RedisLimiter
from server.adapters.redis.sessions import RedisSessions
from server.adapters.redis.tickets import RedisTickets
from server.ports import Clock
from server.settings import Settings
from server.shared import Shared
from server.telemetry import Telemetry


async def join_redis(settings: Settings, clock: Clock, node: str) -> Shared:
    """Make all that talks to Redis, with one guard for what is asked one by one; raise `BusUnusable`.

    The bus has none: it connects by itself, and what is handed to it waits for nobody.
    """
    debounce_s = settings.presence_debounce_ms / 1000
    bus = RedisBus(RedisBusSettings(settings.redis_url, settings.redis_prefix, node, debounce_s=debounce_s), clock)
    await bus.check()
    client, guard = make_client(settings.redis_url), Guard("redis", clock.now)
    sessions = RedisSessions(client, settings.redis_prefix, node, guard)

    async def close() -> None:
        await bus.close()
        await sessions.close()
        await close_client(client)

    def tell(numbers: Telemetry) -> None:
        _tell_bus(bus, numbers)
        numbers.breaker_state[guard.name] = int(guard.state)
        numbers.breaker_opened[guard.name] = guard.opened

    return Shared(
        bus=bus,
        tickets=RedisTickets(client, settings.redis_prefix, clock.random_bytes, guard),
        limiter=RedisLimiter(client, settings.redis_prefix, fallback=MemoryLimiter(clock.micros), guard=guard),
        sessions=sessions,
        work=(bus.run, sessions.run),
        tell=tell,
        close=close,
    )


def _tell_bus(bus: RedisBus, numbers: Telemetry) -> None:
    counters = bus.counters
    numbers.bus_pending_bytes = bus.pending_bytes
    numbers.bus_lease_age_seconds = bus.lease_age_s
    numbers.bus_dropped["ephemeral"], numbers.bus_dropped["durable"] = bus.dropped
    numbers.bus_frames_received = counters.frames_received
    numbers.bus_routes_called = counters.routes_called
    numbers.bus_gaps = counters.gaps
    numbers.bus_reconnects = counters.reconnects
    numbers.bus_incarnations = counters.incarnations
    numbers.bus_reaped = counters.reaped
    numbers.bus_not_understood = counters.not_understood
    numbers.bus_script_errors = counters.script_errors
    numbers.bus_lag_seconds = counters.lag
