"""The outbox: what was stored for a node to route is found again until it is routed, by one node at a time."""

import asyncio

from protocol.from_server import Message
from protocol.ids import MatchId
from server.core.log import NOT_MEMBER, MembersSet
from server.core.routes import Route, Span
from tests.support.postgres_stores import Clustered
from tests.support.stores import ALICE, BOB, CAROL, M, World, post, stored

EVER_S = 1e9


async def routed(clustered: Clustered, *clients: str, node: str = "n1", match: str = M) -> int:
    outcomes, (route,) = await clustered.store.append_routed([post(c, match=match) for c in clients], node)
    assert all(not stored(outcome).duplicate for outcome in outcomes)
    return route


async def test_one_row_tells_what_a_batch_added(clustered: Clustered) -> None:
    store, world = clustered.store, clustered.world
    made, (first,) = await store.set_members_routed(M, (ALICE, BOB), "n1")
    await world.make(ALICE, BOB, match="n")
    batch = [post("a"), post("b", BOB), post("c", match="n"), post("d", CAROL)]
    outcomes, (second,) = await store.append_routed(batch, "n2")
    assert outcomes[3] == NOT_MEMBER
    a, b, c = (stored(outcome).message.created_at for outcome in outcomes[:3])
    routes = await store.routes_within(EVER_S)
    assert [(route.route_id, route.node) for route in routes] == [(first, "n1"), (second, "n2")]
    assert set(routes[1].spans) == {Span(M, a, b), Span(MatchId("n"), c, c)}
    assert isinstance(made, MembersSet)
    assert made.entry is not None
    assert routes[0].spans == (Span(M, made.entry.created_at, made.entry.created_at),)


async def test_nothing_stored_is_nothing_to_route(clustered: Clustered) -> None:
    store = clustered.store
    await store.set_members(M, (ALICE, BOB))
    assert await store.set_members_routed(M, (BOB, ALICE), "n1") == (await store.set_members(M, (ALICE, BOB)), ())
    route = await routed(clustered, "a")
    outcomes, routes = await store.append_routed([post("a"), post("b", CAROL)], "n1")
    assert (stored(outcomes[0]).duplicate, outcomes[1], routes) == (True, NOT_MEMBER, ())
    assert [r.route_id for r in await store.routes_within(EVER_S)] == [route]
    assert await store.append_routed([], "n1") == ([], ())


async def test_what_is_not_routed_is_claimed_once_at_a_time_and_kept(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    routes = [await routed(clustered, f"{number}") for number in range(6)]
    await clustered.store.mark_routed(routes[:2])
    await clustered.store.mark_routed([])
    assert await clustered.store.claim_unrouted("n2", 15, 10) == []
    clustered.clock.advance(15)
    stores = [clustered.store, await clustered.open(), await clustered.open()]
    claimed = await asyncio.gather(*(store.claim_unrouted(f"n{i}", 15, 2) for i, store in enumerate(stores)))
    taken = [route.route_id for batch in claimed for route in batch]
    taken += [route.route_id for route in await clustered.store.claim_unrouted("n2", 15, 10)]
    assert sorted(taken) == routes[2:]
    clustered.clock.advance(200)
    assert await clustered.store.expire_routed() == 2
    again = await clustered.store.claim_unrouted("n3", 15, 10)
    assert (sorted(r.route_id for r in again), {r.node for r in again}) == (routes[2:], {"n3"})
    for store in stores[1:]:
        await store.close()


async def test_a_clock_that_was_set_back_keeps_nobody_waiting(clustered: Clustered) -> None:
    """What was to be told an hour from now, as it seems, is taken over at once; what is of this moment is not."""
    await clustered.world.make(ALICE, BOB)
    clustered.clock.advance(3_600)
    route = await routed(clustered, "a")
    clustered.clock.advance(-3_600)
    fresh = await routed(clustered, "b")
    assert [each.route_id for each in await clustered.store.claim_unrouted("n2", 15, 10)] == [route]
    assert await clustered.store.claim_unrouted("n3", 15, 10) == []
    clustered.clock.advance(15)
    assert {each.route_id for each in await clustered.store.claim_unrouted("n3", 15, 10)} == {route, fresh}


async def test_only_what_was_routed_two_minutes_ago_is_forgotten(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    route = await routed(clustered, "a")
    clustered.clock.advance(100)
    await clustered.store.mark_routed([route])
    clustered.clock.advance(119)
    assert await clustered.store.expire_routed() == 0
    assert len(await clustered.store.routes_within(119)) == 1
    assert len(await clustered.store.routes_within(118)) == 0
    clustered.clock.advance(1)
    assert await clustered.store.expire_routed() == 1


async def test_a_route_leads_to_its_entries(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    await routed(clustered, "a", "b")
    await routed(clustered, "c")
    first, second = await clustered.store.routes_within(EVER_S)
    assert [await clients(clustered.world, route) for route in (first, second)] == [["a", "b"], ["c"]]


async def clients(world: World, route: Route) -> list[str]:
    (span,) = route.spans
    page = await world.page(after=span.first_at - 1, before=span.last_at + 1, match=span.match)
    return [entry.client_id for entry in page.entries if isinstance(entry, Message)]
