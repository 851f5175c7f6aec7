"""Every store keeps revocations alike: for as long as they hold, the later of two that name the same, and tells what is new."""

import pytest

from protocol.ids import Micros, UserId
from server.adapters.memory.store import MemoryStore
from server.adapters.postgres.store import PostgresStore
from server.adapters.sqlite.store import SqliteStore
from server.core.revocations import Revocation
from server.ports import Revocations, StoreUnavailable
from tests.support.stores import World

HOUR_S = 3_600


def record(world: World) -> Revocations:
    """Return the store as a keeper of revocations."""
    assert isinstance(world.store, MemoryStore | SqliteStore | PostgresStore)
    return world.store


def token(world: World, token_id: str, user: str = "alice", *, hours: float = 1) -> Revocation:
    return Revocation(UserId(user), token_id, None, Micros(world.clock.wall_us + round(hours * HOUR_S * 1_000_000)))


def everything(world: World, before: int, user: str = "alice", *, hours: float = 1) -> Revocation:
    until = Micros(world.clock.wall_us + round(hours * HOUR_S * 1_000_000))
    return Revocation(UserId(user), None, Micros(before), until)


async def told(world: World, position: int = 0) -> set[Revocation]:
    return set((await record(world).revocations(position)).revocations)


async def test_what_is_revoked_is_told_from_then_on(world: World) -> None:
    assert await told(world) == set()
    revocations = {token(world, "t1"), token(world, "t2"), everything(world, 5), everything(world, 6, "bob")}
    for revocation in revocations:
        await record(world).revoke(revocation)
    assert await told(world) == revocations


async def test_what_came_after_a_position_is_told_and_nothing_is_missed(world: World) -> None:
    await record(world).revoke(token(world, "old"))
    world.clock.advance(60)
    position = (await record(world).revocations(0)).position
    assert token(world, "new") not in await told(world, position)
    await record(world).revoke(token(world, "new"))
    assert token(world, "new") in await told(world, position)
    world.clock.advance(60)
    again = (await record(world).revocations(position)).position
    assert await told(world, again) == set()


async def test_of_two_that_name_the_same_the_later_holds(world: World) -> None:
    far, near = everything(world, 100, hours=2), everything(world, 50)
    for one, other in ((far, near), (near, far)):
        await record(world).revoke(one)
        await record(world).revoke(other)
        assert await told(world) == {far}
    long, short = token(world, "t1", hours=2), token(world, "t1")
    await record(world).revoke(long)
    await record(world).revoke(short)
    assert await told(world) == {far, long}


async def test_one_that_is_kept_again_is_new_again(world: World) -> None:
    await record(world).revoke(everything(world, 50))
    world.clock.advance(60)
    position = (await record(world).revocations(0)).position
    world.clock.advance(1)
    later = everything(world, 70)
    await record(world).revoke(later)
    assert await told(world, position) == {later}


async def test_what_holds_no_longer_is_dropped(world: World) -> None:
    await record(world).revoke(token(world, "t1"))
    await record(world).revoke(everything(world, 5, "bob"))
    world.clock.advance(HOUR_S + 1)
    last = token(world, "t2", "carol")
    await record(world).revoke(last)
    assert await told(world) == {last}


@pytest.mark.parametrize("text", ["'; DROP TABLE store; --", "☃\u202e", "a:b*c[d]?", "x" * 256], ids=ascii)
async def test_ids_are_only_text(world: World, text: str) -> None:
    revocation = token(world, text, text[:64])
    await record(world).revoke(revocation)
    assert await told(world) == {revocation}


async def test_a_closed_store_is_unavailable(world: World) -> None:
    await world.store.close()
    with pytest.raises(StoreUnavailable):
        await record(world).revoke(token(world, "t1"))
    with pytest.raises(StoreUnavailable):
        await record(world).revocations(0)
