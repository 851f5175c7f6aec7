"""Who is here: counted by devices, told to partners who ask, not flickering."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from msgspec import structs

from loadtest.api import ApiError
from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from protocol.from_client import ClientState, LastSeen, OwnStatus, TypingKind
from protocol.from_server import (
    AppEvent,
    Message,
    OwnPresence,
    Presence,
    PresenceChange,
    PresenceChanged,
    PresenceOwn,
    Status,
    TypingSeen,
)
from protocol.ids import MatchId, UserId
from tests.support.people import People, came, everything_that_came, fresh, name_of, say, type_in, unlimited_server
from tests.support.private_cluster import private_cluster
from tests.support.private_server import PrivateServer

BACKENDS = ("embedded", "shared", "two nodes")
SETS_PER_MIN = 12
HOUR_US = 3_600_000_000
SOON = {
    "PRESENCE_DEBOUNCE_MS": "300",
    "PRESENCE_AWAY_MS": "100",
    "TYPING_EXPIRES_MS": "60000",
    "PRESENCE_SETS_PER_MIN": f"{SETS_PER_MIN}",
}


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest, backend: str) -> Iterator[tuple[PrivateServer, ...]]:
    """Run nodes that say offline and away sooner than usual."""
    with ExitStack() as stack:
        if backend == "embedded":
            yield (stack.enter_context(unlimited_server(None, **SOON)),)
            return
        cluster = private_cluster(*map(request.getfixturevalue, ("postgres", "redis_server")))
        count = 2 if backend == "two nodes" else 1
        yield tuple(stack.enter_context(cluster.node(**SOON)) for _ in range(count))


async def pair(people: People) -> tuple[Client, Client, MatchId]:
    """Return two who are connected and their match; every node knows that they are here."""
    two = await people.pair()
    await people.settled()
    return two


async def until_registered(client: Client) -> None:
    """Wait until every node knows that `client` is here: an answer that asks the directory is proof of it."""
    await client.watch(name_of(client))


async def next_of(client: Client, user: str) -> Presence:
    """Return the next news of `user`."""
    changed = await client.next(PresenceChanged, matching=lambda push: push.changes[0].user == user)
    (presence,) = changed.changes
    return presence


async def until_shown(client: Client, user: str, status: Status) -> Presence:
    """Return the first news of `user` that has this status."""
    while (news := await next_of(client, user)).status is not status:
        pass
    return news


async def test_the_answer_tells_how_partners_are_now(people: People) -> None:
    """Online with a connection, offline without."""
    alice, bob, _ = await pair(people)
    (carol,) = people.users("carol")
    await people.match(name_of(alice), carol)
    told = {presence.user: presence for presence in (await alice.watch(name_of(bob), carol)).presence}
    assert told[name_of(bob)].status is Status.ONLINE
    assert told[carol].status is Status.OFFLINE


async def test_only_partners_are_shown(people: People) -> None:
    """Strangers and users that do not exist are left out, and stay unseen when they come and go."""
    alice, bob, _ = await pair(people)
    (mallory,) = people.users("mallory")
    answer = await alice.watch(name_of(bob), mallory, fresh("nobody"))
    assert [presence.user for presence in answer.presence] == [name_of(bob)]
    stranger = await people.come(mallory)
    assert (await stranger.watch(name_of(alice))).presence == ()
    await stranger.close()
    assert await everything_that_came(alice) == []


async def test_one_who_comes_is_online_at_once(people: People) -> None:
    """Once, however many devices come; `v` grows."""
    alice, (bob,) = (await pair(people))[0], people.users("bob")
    await people.match(name_of(alice), bob)
    (before,) = (await alice.watch(bob)).presence
    await people.come(bob)
    await people.come(bob)
    (now,) = (await alice.next(PresenceChanged)).changes
    assert await came(alice, PresenceChanged) == []
    assert (now.user, now.status) == (bob, Status.ONLINE)
    assert now.v > before.v
    assert now.last_seen is None


@pytest.mark.parametrize("how", ["goodbye", "close", "abort"])
async def test_one_whose_last_device_went_is_offline(people: People, how: str) -> None:
    """After the first of two nothing is told; `last_seen` is when the last one went, and a goodbye is told then."""
    alice, bob, _ = await pair(people)
    tablet = await people.come(name_of(bob))
    (online,) = (await alice.watch(name_of(bob))).presence
    await bob.close()
    (still,) = (await alice.watch(name_of(bob))).presence
    assert still == online
    left_after_us = time.time_ns() // 1000
    match how:
        case "goodbye":
            await tablet.close()
        case "close":
            await tablet.close(1001)
        case _:
            tablet.abort()
    offline = await next_of(alice, name_of(bob))
    assert (offline.status, offline.change) == (Status.OFFLINE, PresenceChange.LEFT)
    assert offline.v > online.v
    assert offline.last_seen is not None
    assert left_after_us <= offline.last_seen <= time.time_ns() // 1000
    waited_us = offline.v - offline.last_seen
    assert waited_us == 0 if how == "goodbye" else waited_us >= 290_000


async def test_one_who_is_back_at_once_was_never_away(people: People) -> None:
    """Nothing is told of them, while one who left later is told to be offline."""
    alice, back = await back_in_time(people)
    (carol_name,) = people.users("carol")
    await people.match(name_of(alice), carol_name)
    carol = await people.come(carol_name)
    await until_registered(carol)
    await alice.watch(name_of(back), carol_name)
    carol.abort()
    changed = await alice.next(PresenceChanged)
    assert [(each.user, each.status) for each in changed.changes] == [(carol_name, Status.OFFLINE)]
    assert back.is_open


async def back_in_time(people: People) -> tuple[Client, Client]:
    """Return one who watches, and whom: lost, and back before that counts. A busy machine may need more than one try."""
    while True:
        alice, bob, _ = await pair(people)
        await alice.watch(name_of(bob))
        back = await people.visitor(name_of(bob))
        lost_at = time.monotonic()
        bob.abort()
        await back.hello()
        await until_registered(back)
        if time.monotonic() - lost_at < 0.25:
            return alice, back


async def test_a_device_that_takes_over_a_session_does_not_flicker(people: People) -> None:
    """The old connection goes when the new one is there."""
    alice, bob, _ = await pair(people)
    await alice.watch(name_of(bob))
    assert bob.welcome is not None
    await people.come(name_of(bob), session=bob.welcome.session)
    await bob.closed()
    assert await came(alice, PresenceChanged) == []


async def test_a_new_watch_replaces_the_old_one(people: People) -> None:
    """And an empty one ends it."""
    alice, _, _ = await pair(people)
    bob, carol = people.users("bob", "carol")
    await people.match(name_of(alice), bob, carol)
    await alice.watch(bob)
    await alice.watch(carol)
    await people.come(bob)
    await people.come(carol)
    assert (await alice.next(PresenceChanged)).changes[0].user == carol
    assert (await alice.watch()).presence == ()
    (dave,) = people.users("dave")
    await people.match(name_of(alice), dave)
    await people.come(dave)
    assert await came(alice, PresenceChanged) == []


async def test_a_watch_belongs_to_one_connection(people: People) -> None:
    """The user's other devices ask for themselves."""
    alice, _, _ = await pair(people)
    laptop = await people.come(name_of(alice))
    (bob,) = people.users("bob")
    await people.match(name_of(alice), bob)
    await alice.watch(bob)
    await people.come(bob)
    assert (await alice.next(PresenceChanged)).changes[0].user == bob
    assert await came(laptop, PresenceChanged) == []


async def test_one_who_is_no_partner_any_more_is_watched_no_more(people: People) -> None:
    """From the change of members on, unless another match is shared."""
    alice, bob, match = await pair(people)
    carol, dave = people.users("carol", "dave")
    await people.match(name_of(alice), carol)
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    await alice.watch(name_of(bob), carol)
    await people.api.put_match(match, [name_of(alice), dave])
    await everything_that_came(alice)
    partner = await people.come(carol)
    await until_registered(partner)
    await bob.close()
    partner.abort()
    news = [(await alice.next(PresenceChanged)).changes[0] for _ in range(2)]
    assert [(each.user, each.status) for each in news] == [(carol, Status.ONLINE), (carol, Status.OFFLINE)]
    assert [presence.user for presence in (await alice.watch(name_of(bob), carol)).presence] == [carol]


async def test_last_seen_is_told_to_one_who_asks_later(people: People) -> None:
    """As long as the server remembers."""
    alice, bob, _ = await pair(people)
    await alice.watch(name_of(bob))
    await bob.close()
    offline = await next_of(alice, name_of(bob))
    later = await people.come(name_of(alice))
    assert (await later.watch(name_of(bob))).presence == (structs.replace(offline, change=None),)


async def test_coming_and_going_many_times_ends_at_the_truth(people: People) -> None:
    """The highest `v` is the state that holds, and `v` never falls."""
    alice, _, _ = await pair(people)
    bob = UserId(fresh("bob"))
    await people.match(name_of(alice), bob)
    await alice.watch(bob)
    for _ in range(3):
        devices = await asyncio.gather(*(people.come(bob) for _ in range(5)))
        await asyncio.gather(*(device.close() for device in devices))
    versions = [(await next_of(alice, bob)).v]
    while (now := (await alice.watch(bob)).presence[0]).status is not Status.OFFLINE or versions[-1] < now.v:
        versions.append((await next_of(alice, bob)).v)
    assert versions == sorted(set(versions))


# ---- whether somebody looks


async def test_one_is_away_when_nobody_looks_at_any_device(people: People) -> None:
    alice, phone, _ = await pair(people)
    bob = name_of(phone)
    await alice.watch(bob)
    tablet = await people.come(bob, client_state=ClientState.INACTIVE)
    assert await came(alice, PresenceChanged) == []
    await phone.attend(ClientState.INACTIVE)
    away = await next_of(alice, bob)
    assert (away.status, away.change, away.last_seen) == (Status.AWAY, PresenceChange.STATUS, None)
    await tablet.attend(ClientState.ACTIVE)
    back = await next_of(alice, bob)
    assert (back.status, back.change) == (Status.ONLINE, PresenceChange.STATUS)
    tablet.abort()
    assert (await next_of(alice, bob)).status is Status.AWAY
    await phone.close()
    assert (await next_of(alice, bob)).status is Status.OFFLINE


async def test_one_who_comes_with_a_phone_in_the_pocket_comes_away(people: People) -> None:
    alice, (bob,) = (await pair(people))[0], people.users("bob")
    await people.match(name_of(alice), bob)
    await alice.watch(bob)
    phone = await people.come(bob, client_state=ClientState.INACTIVE)
    away = await next_of(alice, bob)
    assert (away.status, away.change) == (Status.AWAY, PresenceChange.CAME)
    await phone.attend(ClientState.ACTIVE)
    assert (await next_of(alice, bob)).status is Status.ONLINE


async def test_one_who_does_not_look_is_told_the_newest_afterwards(people: People) -> None:
    """Typing and presence wait, and come before the answer; messages, receipts and events do not wait."""
    alice, bob, match = await pair(people)
    (carol,) = people.users("carol")
    await people.match(name_of(alice), carol)
    await alice.watch(name_of(bob), carol)
    await alice.attend(ClientState.INACTIVE)
    laptop = await people.come(carol)
    await type_in(bob, match)
    await laptop.close()
    await people.come(carol)
    (sent,) = await say(bob, match, "hi")
    await bob.receipt(match, read=sent.seq)
    await type_in(bob, match, kind=TypingKind.RECORDING)
    assert await came(alice, Message) != []
    await people.api.event(name_of(alice), "look", {})
    await alice.next(AppEvent)
    assert [push for _, push in alice.pushes if isinstance(push, TypingSeen | PresenceChanged)] == []
    await alice.attend(ClientState.ACTIVE)
    shown = [push for _, push in alice.pushes if isinstance(push, TypingSeen | PresenceChanged)]
    # That she was gone meanwhile nobody is told, nor of what bob was writing, which has come.
    assert [
        (news.user, news.status) for push in shown if isinstance(push, PresenceChanged) for news in push.changes
    ] == [(carol, Status.ONLINE)]
    assert [push for push in shown if isinstance(push, TypingSeen)] == [
        TypingSeen(match, name_of(bob), on=True, kind=TypingKind.RECORDING)
    ]


# ---- how one wants to be shown


async def test_one_is_shown_as_one_wishes_on_all_devices(people: People) -> None:
    """And the other devices are told, those that come later by their welcome."""
    alice, phone, _ = await pair(people)
    bob = name_of(phone)
    laptop = await people.come(bob)
    await alice.watch(bob)
    await phone.show(status=OwnStatus.DND, text="In an exam")
    dnd = await next_of(alice, bob)
    assert (dnd.status, dnd.text, dnd.change) == (Status.DND, "In an exam", PresenceChange.STATUS)
    assert await laptop.next(PresenceOwn) == PresenceOwn(OwnStatus.DND, "In an exam", LastSeen.EXACT)
    assert await came(phone, PresenceOwn) == []
    await laptop.show(text="Done")
    assert await phone.next(PresenceOwn) == PresenceOwn(OwnStatus.DND, "Done", LastSeen.EXACT)
    assert (await next_of(alice, bob)).text == "Done"
    tablet = await people.come(bob)
    assert tablet.welcome is not None
    assert tablet.welcome.presence == OwnPresence(OwnStatus.DND, "Done", LastSeen.EXACT)
    for device in (phone, laptop, tablet):
        await device.close()
    assert (await next_of(alice, bob)).status is Status.OFFLINE
    await people.come(bob)
    back = await next_of(alice, bob)
    assert (back.status, back.text) == (Status.DND, "Done")


async def test_one_who_is_invisible_is_never_seen_online(people: People) -> None:
    """Neither by partners nor by the backend, whatever their devices do; and back at once."""
    alice, phone, _ = await pair(people)
    bob = name_of(phone)
    await alice.watch(bob)
    await phone.show(status=OwnStatus.INVISIBLE, text="hush")
    gone = await next_of(alice, bob)
    assert (gone.status, gone.text, gone.change) == (Status.OFFLINE, "", PresenceChange.LEFT)
    laptop = await people.come(bob)
    await phone.attend(ClientState.INACTIVE)
    await phone.close()
    phone = await people.come(bob, client_state=ClientState.INACTIVE)
    assert await came(alice, PresenceChanged) == []
    (seen,) = (await alice.watch(bob)).presence
    assert seen == structs.replace(gone, change=None)
    assert await presence_of(people, f"users={bob}") == [seen]
    await laptop.show(status=OwnStatus.ONLINE, text="")
    assert (await next_of(alice, bob)).status is Status.ONLINE


async def test_last_seen_is_rounded_for_those_who_wish_that(people: People) -> None:
    alice, bob, _ = await pair(people)
    await alice.watch(name_of(bob))
    await bob.show(last_seen=LastSeen.ROUNDED)
    await bob.close()
    gone = await until_shown(alice, name_of(bob), Status.OFFLINE)
    assert gone.last_seen is not None
    assert gone.last_seen % HOUR_US == 0


async def test_one_who_changes_all_the_time_is_told_to_wait(people: People) -> None:
    """On all nodes together, and it costs those who watch nothing."""
    phone, _, _ = await pair(people)
    laptop = await people.come(name_of(phone))
    problems: list[Refused] = []
    for number in range(2 * SETS_PER_MIN):
        try:
            await (phone, laptop)[number % 2].show(text=f"{number}")
        except Refused as problem:
            problems.append(problem)
    assert {problem.code for problem in problems} == {ErrorCode.RATE_LIMITED}
    assert all(problem.error.retry_after_ms for problem in problems)


# ---- the app's backend


async def presence_of(people: People, query: str) -> list[Presence]:
    answer = await people.api.call("GET", f"/v1/presence?{query}")
    return answer.read(dict[str, list[Presence]])["presence"]


async def test_the_backend_reads_how_users_are(people: People) -> None:
    """As others see them, each once, in the order asked for; of whom nobody knows that they are not here."""
    alice, bob, _ = await pair(people)
    (nobody,) = people.users("nobody, with a comma")
    names = f"{name_of(bob)},{name_of(alice)}"
    await people.settled()
    users = await presence_of(people, f"users={names}&users={name_of(bob)}&user={quote(nobody)}")
    assert [(each.user, each.status) for each in users] == [
        (name_of(bob), Status.ONLINE),
        (name_of(alice), Status.ONLINE),
        (nobody, Status.OFFLINE),
    ]
    await alice.watch(name_of(bob))
    await bob.close()
    gone = await until_shown(alice, name_of(bob), Status.OFFLINE)
    assert await presence_of(people, f"users={name_of(bob)}") == [structs.replace(gone, change=None)]


async def test_the_backend_names_1_to_200_users(people: People) -> None:
    names = ",".join(f"user{number}" for number in range(200))
    assert len(await presence_of(people, f"users={names}")) == 200
    for query in ("", "users=", "users=a,,b", f"users={names}&user=one-more", f"user={'x' * 65}"):
        with pytest.raises(ApiError) as refused:
            await presence_of(people, query)
        assert (refused.value.status, refused.value.code) == (400, "bad_request")


async def test_only_the_backend_reads_presence_over_http(people: People) -> None:
    (alice,) = people.users("alice")
    with pytest.raises(ApiError) as refused:
        await people.as_user(await people.api.token(alice)).call("GET", f"/v1/presence?users={alice}")
    assert refused.value.status == 403
