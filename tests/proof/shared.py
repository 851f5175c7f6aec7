"""Nodes that share a PostgreSQL and a Redis of the proof's own, as in production."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from tests.proof.claims import Ground
from tests.proof.node import Node
from tests.support.private_postgres import PrivatePostgres, private_postgres
from tests.support.private_redis import PrivateRedis, private_redis

OK = "ok"


@dataclass(frozen=True, slots=True)
class Shared:
    """What the nodes stand on."""

    ground: Ground
    postgres: PrivatePostgres
    redis: PrivateRedis

    async def node(self, **settings: str) -> Node:
        """Start one more node."""
        urls = {"DATABASE_URL": self.postgres.url(), "REDIS_URL": self.redis.url}
        # Nobody pulls the plug here, so that PostgreSQL need not sync.
        return await self.ground.node(None, **urls, DATABASE_DURABILITY="waived", **settings)


@contextmanager
def shared(ground: Ground) -> Iterator[Shared]:
    """Run a PostgreSQL and a Redis until the block ends."""
    ground.tell("starting PostgreSQL and Redis")
    with private_postgres() as postgres, private_redis(ground.folder) as redis:
        yield Shared(ground, postgres, redis)


async def wrong(node: Node) -> dict[str, str]:
    """Return what a node says on /readyz to be wrong; nothing when it is ready."""
    api = node.api()
    answer = await api.exchange("GET", "/readyz")
    api.close()
    said: dict[str, str] = msgspec.json.decode(answer.body)["checks"]
    found = {name: each for name, each in said.items() if each != OK}
    assert bool(found) is (answer.status == 503), answer
    return found
