"""Who is writing: forwarded seldom, taken back in time, to members only."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from protocol.from_client import TypingKind
from protocol.from_server import Error, Message, TypingSeen
from tests.support.people import (
    People,
    came,
    everything_that_came,
    name_of,
    numbers,
    people_on,
    say,
    type_in,
    unlimited_server,
)
from tests.support.private_server import PrivateServer

BACKENDS = ("embedded", "shared", "two nodes")


@pytest.fixture(scope="module")
def hasty_server() -> Iterator[PrivateServer]:
    """Run a server that forwards typing often, so that a test sees the interval end."""
    with unlimited_server(TYPING_INTERVAL_MS="250") as server:
        yield server


async def test_typing_is_shown_to_all_connections_of_the_others(people: People) -> None:
    """Not on the own devices."""
    alice, bob, match = await people.pair()
    laptop, tablet = await people.come(name_of(alice)), await people.come(name_of(bob))
    await type_in(alice, match)
    for client in (bob, tablet):
        assert await everything_that_came(client) == [TypingSeen(match, name_of(alice), True)]
    for client in (alice, laptop):
        assert await everything_that_came(client) == []


async def test_typing_without_id_has_no_answer(people: People) -> None:
    """It is forwarded all the same."""
    alice, bob, match = await people.pair()
    alice.typing(match)
    assert (await bob.next(TypingSeen)).user == name_of(alice)
    assert await everything_that_came(alice) == []


async def test_typing_is_forwarded_once_in_an_interval(people: People) -> None:
    """From however many devices, however often; each answered."""
    alice, bob, match = await people.pair()
    laptop = await people.come(name_of(alice))
    began = time.monotonic()
    for _ in range(10):
        await type_in(alice, match)
        await type_in(laptop, match)
    seen = await came(bob, TypingSeen)
    assert set(seen) == {TypingSeen(match, name_of(alice), True)}
    assert len(seen) <= 1 + intervals_since(began, alice)


def intervals_since(began: float, client: Client) -> int:
    """Return how many intervals are over since then; none, if the machine is not very busy."""
    assert client.welcome is not None
    return int((time.monotonic() - began) * 1000 / client.welcome.timers.typing_interval_ms)


async def test_typing_is_forwarded_again_after_the_interval(hasty_server: PrivateServer) -> None:
    """One who goes on writing goes on being shown; what came too early was held back."""
    async with people_on(hasty_server) as people:
        alice, bob, match = await people.pair()
        assert alice.welcome is not None
        assert alice.welcome.timers.typing_interval_ms == 250
        before = await numbers(people.api)
        told = 0
        async with asyncio.timeout(20):
            while told < 3:
                await type_in(alice, match)
                told += len(await came(bob, TypingSeen))
        after = await numbers(people.api)
        assert after["typing_forwarded"] - before["typing_forwarded"] == 3
        assert after["typing_suppressed"] > before["typing_suppressed"]


async def test_each_user_and_match_has_its_own_interval(people: People) -> None:
    """Neither another's typing nor typing elsewhere holds it back."""
    alice, bob, match = await people.pair()
    elsewhere = await people.match(name_of(alice), name_of(bob))
    await type_in(alice, match)
    await type_in(alice, elsewhere)
    await type_in(bob, match)
    assert [seen.match for seen in await came(bob, TypingSeen)] == [match, elsewhere]
    assert [seen.match for seen in await came(alice, TypingSeen)] == [match]


async def test_one_may_write_and_record(people: People) -> None:
    """Each is told apart, as often as the other; a message ends both, the end of one is not that of the other."""
    alice, bob, match = await people.pair()
    user, began = name_of(alice), time.monotonic()
    for kind in (TypingKind.TEXT, TypingKind.RECORDING, TypingKind.RECORDING):
        await type_in(alice, match, kind=kind)
    seen = await came(bob, TypingSeen)
    assert seen[:2] == [TypingSeen(match, user, True), TypingSeen(match, user, True, TypingKind.RECORDING)]
    assert len(seen) <= 2 + intervals_since(began, alice)
    await type_in(alice, match, on=False)
    assert await came(bob, TypingSeen) == [TypingSeen(match, user, False)]
    await say(alice, match, "done")
    await type_in(alice, match, on=False, kind=TypingKind.RECORDING)
    assert await came(bob, TypingSeen) == []


async def test_typing_is_not_told_in_a_crowd(people: People) -> None:
    """Of more than the welcome says; it is answered all the same."""
    users = people.users(*["user"] * 21)
    full, crowded = await people.match(*users[:20]), await people.match(*users)
    alice, bob = await people.come(users[0]), await people.come(users[1])
    assert alice.welcome is not None
    assert alice.welcome.limits.typing_members == 20
    await type_in(alice, crowded)
    await type_in(alice, full)
    assert [seen.match for seen in await came(bob, TypingSeen)] == [full]


async def test_a_message_from_another_device_ends_it_too(people: People) -> None:
    """What the first one says afterwards is told at once, which is not within half a second."""
    alice, bob, match = await people.pair()
    laptop = await people.come(name_of(alice))
    await type_in(alice, match)
    assert len(await came(bob, TypingSeen)) == 1
    await say(laptop, match, "from here")
    assert [seen.on for seen in await came(bob, TypingSeen)] in ([], [False])
    told: list[TypingSeen] = []
    async with asyncio.timeout(30):
        while not told:
            await type_in(alice, match)
            told = await came(bob, TypingSeen)
    assert told == [TypingSeen(match, name_of(alice), True)]


async def test_the_end_of_typing_is_told_if_its_begin_was(people: People) -> None:
    """Once."""
    alice, bob, match = await people.pair()
    await type_in(alice, match, on=False)
    assert await came(bob, TypingSeen) == []
    await type_in(alice, match)
    assert [seen.on for seen in await came(bob, TypingSeen)] == [True]
    await type_in(alice, match, on=False)
    await type_in(alice, match, on=False)
    assert [seen.on for seen in await came(bob, TypingSeen)] == [False]


async def test_a_message_says_that_its_sender_stopped(people: People) -> None:
    """No `off` is sent for it, neither at once nor when the sender says so or goes."""
    alice, bob, match = await people.pair()
    await type_in(alice, match)
    assert len(await came(bob, TypingSeen)) == 1
    await say(alice, match, "done")
    await type_in(alice, match, on=False)
    await alice.close()
    assert [type(push) for push in await everything_that_came(bob)] == [Message]


async def test_typing_is_never_shown_behind_the_message_that_ended_it(people: People) -> None:
    """Though typing may wait for company and a message does not."""
    alice, bob, match = await people.pair()
    for _ in range(5):
        alice.typing(match)
        await say(alice, match, "quick")
        kinds = [type(push) for push in await everything_that_came(bob)]
        assert kinds[-1] is Message
        assert kinds.count(Message) == 1


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_one_whose_last_connection_ends_stopped_typing(people: People, how: str) -> None:
    """In every match where they were shown; while another device is there they may go on."""
    alice, bob, match = await people.pair()
    elsewhere = await people.match(name_of(alice), name_of(bob))
    laptop = await people.come(name_of(alice))
    await type_in(alice, match)
    await type_in(laptop, elsewhere)
    await alice.close()
    assert [seen.on for seen in await came(bob, TypingSeen)] == [True, True]
    if how == "close":
        await laptop.close()
    else:
        laptop.abort()
    ends = [await bob.next(TypingSeen), await bob.next(TypingSeen)]
    assert {(seen.match, seen.on) for seen in ends} == {(match, False), (elsewhere, False)}


async def test_one_who_left_the_match_can_no_longer_be_seen_typing(people: People) -> None:
    """From the moment on that the change was answered; one who joined can."""
    alice, bob, match = await people.pair()
    (carol_name,) = people.users("carol")
    carol = await people.come(carol_name)
    await type_in(alice, match)
    with pytest.raises(Refused):
        await type_in(carol, match)
    await people.api.put_match(match, [name_of(alice), carol_name])
    await type_in(carol, match)
    assert [seen.user for seen in await came(alice, TypingSeen)] == [carol_name]
    with pytest.raises(Refused) as refused:
        await type_in(bob, match)
    assert refused.value.code is ErrorCode.NOT_MEMBER
    await type_in(alice, match, on=False)
    assert await came(bob, TypingSeen) == [TypingSeen(match, name_of(alice), True)]


async def test_a_refusal_without_id_has_no_id(people: People) -> None:
    """It is an `error` of its own."""
    (mallory,) = people.users("mallory")
    _, _, match = await people.pair()
    stranger = await people.come(mallory)
    stranger.typing(match)
    error = await stranger.next(Error)
    assert (error.code, error.id) == (ErrorCode.NOT_MEMBER, None)


async def test_the_welcome_tells_when_typing_expires(people: People) -> None:
    """8 s, which receivers keep by themselves."""
    alice, _, _ = await people.pair()
    assert alice.welcome is not None
    assert alice.welcome.timers.typing_expires_ms == 8_000
    assert alice.welcome.timers.typing_interval_ms == 3_000
