"""What a node on PostgreSQL has of it. Imported only by nodes that use it: the driver takes long to load."""

from server.adapters.postgres.store import LANES, PostgresStore
from server.ports import Clock
from server.settings import Settings
from server.telemetry import Telemetry

__all__ = ["LANES", "open_postgres", "tell_postgres"]


async def open_postgres(settings: Settings, clock: Clock) -> PostgresStore:
    """Open the store; raise `StoreUnusable`."""
    return await PostgresStore.open(
        settings.database_url,
        clock,
        replica_url=settings.database_read_replica_url or None,
        lanes=LANES + 1,  # one for the route log
        allow_unsafe=settings.database_durability == "waived",
    )


def tell_postgres(store: PostgresStore, numbers: Telemetry) -> None:
    """Write what the store counts into the node's numbers."""
    numbers.reads_by_replica = store.from_replica
    for guard in store.guards:
        numbers.breaker_state[guard.name] = int(guard.state)
        numbers.breaker_opened[guard.name] = guard.opened
