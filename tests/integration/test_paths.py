"""Every path on which one user could learn of another, tried as it is, with a block in either direction, and afterwards.

Each probe has mallory do something that alice would notice, and tells whether she did. What rule holds is in
tests/support/paths.py.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest
from msgspec import Struct
from typing_extensions import override

from loadtest.client import Client, Refused, decode_ok
from protocol.calls import CallEntry, CallHangup, CallIncoming, CallSeat, CallSnapshot
from protocol.errors import ErrorCode
from protocol.from_client import Block, Unblock
from protocol.from_server import (
    Entry,
    HistoryPage,
    MatchesPage,
    MatchMade,
    MatchSummary,
    Member,
    Message,
    PresenceChanged,
    ReceiptMoved,
    Status,
    Synced,
    TypingSeen,
    Watching,
    Welcome,
)
from protocol.ids import MatchId, Seq, UserId
from server.gateway.api.requests import MatchesAnswer, MessagesAnswer
from tests.support.paths import ROWS, Row, Rule, unprobed
from tests.support.people import BEFORE_ALL, People, came, code_of, fresh, name_of, say, type_in
from tests.support.talkers import join, start

BACKENDS = ("embedded", "two nodes")


class Scene(Struct):
    """Alice, who looks; mallory, who does; carol, who is there, too. A match of two and one of three."""

    people: People
    alice: Client
    mallory: Client
    carol: UserId
    pair: MatchId
    group: MatchId

    async def fresh_group(self) -> MatchId:
        """Return another match of the three."""
        return await self.people.match(name_of(self.alice), name_of(self.mallory), self.carol)

    async def carol_says(self, match: MatchId) -> Seq:
        """Have carol post, and return where that is."""
        client_id = fresh("message")
        return (await self.people.api.post(match, self.carol, client_id, "hello")).seq

    async def mallory_reads(self, match: MatchId) -> None:
        """Have mallory move her cursors in `match`."""
        seq = await self.carol_says(match)
        await self.mallory.receipt(match, delivered=seq, read=seq)

    def is_mallory(self, user: UserId) -> bool:
        """Tell whether this is she."""
        return user == name_of(self.mallory)

    def wrote(self, entry: Entry | None) -> bool:
        """Tell whether mallory shows as the author of an entry."""
        match entry:
            case Message():
                return self.is_mallory(entry.sender)
            case CallEntry():
                return self.is_mallory(entry.caller)
            case _:
                return False

    def moved(self, member: Member | ReceiptMoved) -> bool:
        """Tell whether it shows how far mallory is."""
        return self.is_mallory(member.user) and member.delivered > 1

    def shows(self, summary: MatchSummary | MatchMade) -> bool:
        """Tell whether mallory shows in a summary, but for being a member."""
        return self.wrote(summary.last) or any(map(self.moved, summary.members))


Try = Callable[[Scene], Awaitable[bool]]


class Probe(Struct, frozen=True):
    """How a path is tried: `of` names its row."""

    of: Row
    attempt: Try

    @override
    def __str__(self) -> str:
        return self.attempt.__name__


# ---- entries


async def message_in_a_pair(scene: Scene) -> bool:
    try:
        await say(scene.mallory, scene.pair, "hello")
    except Refused as problem:
        assert code_of(problem) is ErrorCode.REFUSED  # noqa: PT017 - she may also not be refused
    return any(map(scene.wrote, await came(scene.alice, Message)))


async def message_in_a_group(scene: Scene) -> bool:
    await say(scene.mallory, scene.group, "hello")
    return any(map(scene.wrote, await came(scene.alice, Message)))


async def call_in_a_group(scene: Scene) -> bool:
    group = await scene.fresh_group()
    seat = await start(scene.mallory, group, mode="prompt")
    await scene.mallory.request(CallHangup(scene.mallory.next_id(), seat.call), decode_ok)
    return any(map(scene.wrote, await came(scene.alice, CallEntry)))


# ---- other pushes


async def a_match_that_alice_joins(scene: Scene) -> bool:
    others = (name_of(scene.mallory), scene.carol)
    match = await scene.people.match(*others)
    await scene.mallory_reads(match)
    await scene.people.api.put_match(match, (name_of(scene.alice), *others))
    return any(map(scene.shows, await came(scene.alice, MatchMade)))


async def a_receipt(scene: Scene) -> bool:
    await scene.mallory_reads(scene.group)
    return any(map(scene.moved, await came(scene.alice, ReceiptMoved)))


async def typing(scene: Scene) -> bool:
    for match in (scene.pair, await scene.fresh_group()):
        await type_in(scene.mallory, match)
        await type_in(scene.mallory, match, on=False)
    return any(scene.is_mallory(seen.user) for seen in await came(scene.alice, TypingSeen))


async def presence(scene: Scene) -> bool:
    """Somebody whom alice watched before she blocked them comes; carol, who comes later, is what we wait for."""
    shade, carol = scene.people.users("shade", "carol")
    await scene.people.match(name_of(scene.alice), shade, carol)
    await scene.alice.watch(shade, carol)
    await relate(scene, shade, await relation(scene))
    await scene.people.come(shade)
    await scene.people.come(carol)
    told: list[UserId] = []
    while carol not in told:
        changes = (await scene.alice.next(PresenceChanged)).changes
        told += [each.user for each in changes if each.status is not Status.UNKNOWN]  # that is told of who is blocked
    return shade in told


# ---- calls


async def a_ring(scene: Scene) -> bool:
    seat: CallSeat | None = None
    with suppress(Refused):
        seat = await start(scene.mallory, scene.pair)
    rung = await came(scene.alice, CallIncoming)
    if seat is not None:
        await scene.mallory.request(CallHangup(scene.mallory.next_id(), seat.call), decode_ok)
    await came(scene.alice, CallIncoming)
    return any(scene.is_mallory(each.caller) for each in rung)


async def a_call_that_goes_on(scene: Scene) -> bool:
    """Whoever comes is told of calls in the order in which they began; carol's, the later one, is what we wait for."""
    group = await scene.fresh_group()
    seat = await start(scene.mallory, group, mode="prompt")
    carol = await scene.people.come(scene.carol)
    last = await start(carol, await scene.people.match(name_of(scene.alice), scene.carol), mode="prompt")
    again = await scene.people.come(name_of(scene.alice))
    seen: list[CallSnapshot] = []
    while not any(each.call == last.call for each in seen):
        seen.append(await again.next(CallSnapshot))
    for client, call in ((scene.mallory, seat.call), (carol, last.call)):
        await client.request(CallHangup(client.next_id(), call), decode_ok)
    for client in (carol, again):
        await client.close()
    return any(scene.is_mallory(each.caller) for each in seen)


async def a_seat_beside_mallory(scene: Scene) -> bool:
    group = await scene.fresh_group()
    seat = await start(scene.mallory, group, mode="prompt")
    try:
        beside = await join(scene.alice, seat.call)
    except Refused as problem:
        assert code_of(problem) is ErrorCode.CALL_REFUSED  # noqa: PT017 - she may also not be refused
        return False
    finally:
        await scene.mallory.request(CallHangup(scene.mallory.next_id(), seat.call), decode_ok)
    await scene.alice.request(CallHangup(scene.alice.next_id(), seat.call), decode_ok)
    return any(scene.is_mallory(peer.user) for peer in beside.peers)


# ---- answers


async def the_welcome(scene: Scene) -> bool:
    """A message in a group, which is the last; and how far mallory is."""
    await say(scene.mallory, await scene.fresh_group(), "hello")
    again = await scene.people.come(name_of(scene.alice))
    assert again.welcome is not None
    await again.close()
    return any(scene.wrote(each.last) for each in again.welcome.matches)


async def cursors_in_the_welcome(scene: Scene) -> bool:
    await scene.mallory_reads(await scene.fresh_group())
    again = await scene.people.come(name_of(scene.alice))
    assert again.welcome is not None
    await again.close()
    newest = again.welcome.matches[0]
    return any(map(scene.moved, newest.members))


async def what_a_resume_brings(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await say(scene.mallory, group, "hello")
    again = await scene.people.come(name_of(scene.alice), {group: BEFORE_ALL})
    entries = await came(again, Message)
    await again.close()
    return any(map(scene.wrote, entries))


async def history(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await say(scene.mallory, group, "hello")
    return any(map(scene.wrote, (await scene.alice.history(group)).messages))


async def entries_of_a_sync(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await say(scene.mallory, group, "hello")
    synced = await scene.alice.sync({group: BEFORE_ALL})
    return any(map(scene.wrote, synced.matches[group].entries))


async def receipts_of_a_sync(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await scene.mallory_reads(group)
    synced = await scene.alice.sync({group: BEFORE_ALL})
    return any(map(scene.moved, synced.receipts))


async def last_in_a_page_of_matches(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await say(scene.mallory, group, "hello")
    (newest,) = (await scene.alice.matches(limit=1)).matches
    return scene.wrote(newest.last) or newest.unread > 0


async def cursors_in_a_page_of_matches(scene: Scene) -> bool:
    await scene.mallory_reads(await scene.fresh_group())
    (newest,) = (await scene.alice.matches(limit=1)).matches
    return any(map(scene.moved, newest.members))


async def a_watch(scene: Scene) -> bool:
    states = (await scene.alice.watch(name_of(scene.mallory), name_of(scene.alice))).presence
    assert any(state.user == name_of(scene.alice) for state in states)
    return any(scene.is_mallory(state.user) for state in states)


# ---- HTTP, as alice


async def messages_over_http(scene: Scene) -> bool:
    group = await scene.fresh_group()
    await say(scene.mallory, group, "hello")
    api = scene.people.as_user(await scene.people.api.token(name_of(scene.alice)))
    answer = await api.call("GET", f"/v1/matches/{group}/messages")
    return any(map(scene.wrote, answer.read(MessagesAnswer).messages))


async def matches_over_http(scene: Scene) -> bool:
    await scene.mallory_reads(await scene.fresh_group())
    api = scene.people.as_user(await scene.people.api.token(name_of(scene.alice)))
    answer = await api.call("GET", f"/v1/users/{name_of(scene.alice)}/matches?limit=1")
    (newest,) = answer.read(MatchesAnswer).matches
    return any(map(scene.moved, newest.members))


PROBES: Final = (
    Probe(Message, message_in_a_pair),
    Probe(Message, message_in_a_group),
    Probe(CallEntry, call_in_a_group),
    Probe(MatchMade, a_match_that_alice_joins),
    Probe(ReceiptMoved, a_receipt),
    Probe(TypingSeen, typing),
    Probe(PresenceChanged, presence),
    Probe(CallIncoming, a_ring),
    Probe(CallSnapshot, a_call_that_goes_on),
    Probe(CallSeat, a_seat_beside_mallory),
    Probe(Welcome, the_welcome),
    Probe(Welcome, cursors_in_the_welcome),
    Probe(Message, what_a_resume_brings),
    Probe(HistoryPage, history),
    Probe(Synced, entries_of_a_sync),
    Probe(Synced, receipts_of_a_sync),
    Probe(MatchesPage, last_in_a_page_of_matches),
    Probe(MatchesPage, cursors_in_a_page_of_matches),
    Probe(Watching, a_watch),
    Probe("list_messages", messages_over_http),
    Probe("list_matches", matches_over_http),
)
# Of entries in a match of three only who blocked is spared those of the other.
SKIPPED: Final = (
    message_in_a_group,
    call_in_a_group,
    the_welcome,
    what_a_resume_brings,
    history,
    entries_of_a_sync,
    last_in_a_page_of_matches,
    messages_over_http,
)


# ---- who has blocked whom


async def relate(scene: Scene, other: UserId, relation: tuple[bool, bool]) -> None:
    """Have alice block `other`, or `other` alice, or both take it back, over HTTP."""
    alice = name_of(scene.alice)
    for (user, whom), is_on in zip(((alice, other), (other, alice)), relation, strict=True):
        method = "PUT" if is_on else "DELETE"
        answer = await scene.people.api.call(method, f"/v1/users/{user}/blocks/{whom}")
        assert answer.status == 204
    await scene.people.settled()


async def relation(scene: Scene) -> tuple[bool, bool]:
    """Read whether alice has blocked mallory, and mallory alice."""
    pairs = ((scene.alice, scene.mallory), (scene.mallory, scene.alice))
    found: list[bool] = []
    for user, whom in pairs:
        answer = await scene.people.api.call("GET", f"/v1/users/{name_of(user)}/blocks")
        found.append(name_of(whom).encode() in answer.body)
    return found[0], found[1]


async def scene_of(people: People) -> Scene:
    alice, mallory, carol = people.users("alice", "mallory", "carol")
    pair, group = await people.match(alice, mallory), await people.match(alice, mallory, carol)
    return Scene(people, await people.come(alice), await people.come(mallory), carol, pair, group)


@pytest.mark.parametrize("probe", PROBES, ids=str)
async def test_a_block_holds_on_this_path(people: People, probe: Probe) -> None:
    """From its `ok` on, on live sockets, in both directions; taken back it is as if it had never been."""
    scene = await scene_of(people)
    alice, mallory = scene.alice, scene.mallory
    assert await probe.attempt(scene)
    await alice.request(Block(alice.next_id(), name_of(mallory)), decode_ok)
    await people.settled()
    assert not await probe.attempt(scene)
    await alice.request(Unblock(alice.next_id(), name_of(mallory)), decode_ok)
    await mallory.request(Block(mallory.next_id(), name_of(alice)), decode_ok)
    await people.settled()
    assert await probe.attempt(scene) is (probe.attempt in SKIPPED)
    await mallory.request(Unblock(mallory.next_id(), name_of(alice)), decode_ok)
    await people.settled()
    assert await probe.attempt(scene)


def test_every_row_that_could_tell_of_another_user_is_tried() -> None:
    assert unprobed(probe.of for probe in PROBES) == []


def test_what_is_skipped_are_entries() -> None:
    assert {ROWS[probe.of] for probe in PROBES if probe.attempt in SKIPPED} == {Rule.SKIP, Rule.NOTHING}
