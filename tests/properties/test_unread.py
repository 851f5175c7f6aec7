"""Unread is never a counter that could drift: what the server tells, what a client keeps from pushes, and what counting
gives are the same number, on every device, whatever happened: messages, missed calls, blocks, reading in private.

The invariant: unread is the number of messages and missed calls behind the user's `read` that the user is shown.
"""

import asyncio
from collections.abc import Coroutine
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from signaling.decision import Rules
from tests.support.switchboard import Client, Json, Switchboard, running

USERS = ("alice", "bob", "carol")
MATCH = "m1"


class Device:
    """A client that keeps its unread count by the rules of docs/protocol.md, never asking."""

    def __init__(self, user: str, client: Client) -> None:
        self.user = user
        self.client = client
        self.unread = 0
        self.read = 0
        self.ordinals: dict[int, int] = {}
        # What is shown is other than before.
        self.is_outdated = False

    async def hear(self) -> None:
        """Take in everything that came; ask for the matches again where the protocol says so."""
        for push in await self.client.listen():
            self.take(push)
        if self.is_outdated:
            self.is_outdated = False
            self.start(await self.summary())
            page = await self.ask(type="history", match=MATCH, limit=200)
            entries = page["messages"]
            assert isinstance(entries, list)
            for entry in entries:
                if "n" in entry:
                    self.note(entry)

    async def ask(self, **request: object) -> Json:
        """Ask something; take in what else came."""
        answers = await self.client.ask(id="it", **request)
        for push in answers:
            if push.get("id") != "it":
                self.take(push)
        (answer,) = (each for each in answers if each.get("id") == "it")
        assert answer["type"] == "ok", answer
        return answer

    async def summary(self) -> Json:
        """Ask for the match."""
        page = await self.ask(type="matches")
        matches = page["matches"]
        assert isinstance(matches, list)
        summary = matches[0]
        assert isinstance(summary, dict)
        return summary

    def take(self, push: Json) -> None:
        match push["type"]:
            case "match":
                self.start(push)
            case "message" if push["sender"] == self.user:
                self.note(push)
                self.sent(push)
            case "message":
                self.note(push)
                self.unread += 1
            case "call" if "n" in push and push["caller"] == self.user:
                self.note(push)
                self.sent(push)
            case "call" if "n" in push:
                self.note(push)
                self.unread += 1
            case "receipt" if push["user"] == self.user:
                self.moved(number(push, "read"))
            case "blocked":
                self.is_outdated = True
            case _:
                pass

    def start(self, summary: Json) -> None:
        """Begin with what the server says."""
        self.unread = number(summary, "unread")
        members = summary["members"]
        assert isinstance(members, list)
        (self.read,) = (member["read"] for member in members if member["user"] == self.user)
        self.ordinals = {}

    def note(self, message: Json) -> None:
        self.ordinals[number(message, "seq")] = number(message, "n")

    def sent(self, message: Json) -> None:
        self.unread, self.read = 0, number(message, "seq")

    def moved(self, read: int) -> None:
        """Unread is the messages held that lie beyond the cursor."""
        if read > self.read:
            self.read = read
            self.unread = sum(seq > read for seq in self.ordinals)


def number(message: Json, name: str) -> int:
    value = message[name]
    assert isinstance(value, int)
    return value


class World:
    """Devices of three users in one match, and the plain list of what was said."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board
        self.devices: list[Device] = []
        # What counts, by its place, and whose it is.
        self.said: list[tuple[int, str]] = []
        self.last = 1
        self.reads = dict.fromkeys(USERS, 1)
        self.blocks: set[tuple[str, str]] = set()

    async def open(self) -> None:
        self.devices = [Device(user, await self.board.enter(user)) for user in (*USERS, "alice")]
        await self.board.make(MATCH, *USERS)

    async def say(self, device: Device) -> None:
        """Post from one device; the answer is its entry."""
        count = len(self.said) + 1
        answer = await device.ask(type="message.send", match=MATCH, client_id=f"c{count}", body={"text": "hi"})
        device.note({**answer, "n": count})
        device.sent(answer)
        self.said.append((number(answer, "seq"), device.user))
        self.last = self.reads[device.user] = number(answer, "seq")

    async def block(self, device: Device, other: str, *, is_on: bool) -> None:
        """Block somebody, or take it back; the device then asks again."""
        if other == device.user:
            return
        await device.ask(type="block" if is_on else "unblock", user=other)
        device.is_outdated = True
        self.blocks -= {(device.user, other)}
        self.blocks |= {(device.user, other)} if is_on else set()

    async def read_in_private(self, device: Device, *, is_on: bool) -> None:
        """Show the others no more how far one reads, or again."""
        await device.ask(type="match.set", match=MATCH, private_read=is_on)

    async def call(self, device: Device) -> None:
        """Read everything, then ring somebody who does not answer."""
        ringing = [other for other in self.devices if not self.are_apart(device.user, other.user)]
        if not ringing:
            return
        await self.read(device, self.last)
        seat = await device.ask(type="call.start", match=MATCH, client_id=f"call{self.last}", media="audio")
        await ringing[0].ask(type="call.ringing", call=seat["call"])
        await device.ask(type="call.hangup", call=seat["call"])
        self.last += 2
        self.said.append((self.last, device.user))
        self.reads[device.user] = self.last

    def are_apart(self, user: str, other: str) -> bool:
        """Tell whether neither rings for the other."""
        return user == other or (user, other) in self.blocks or (other, user) in self.blocks

    async def read(self, device: Device, seq: int) -> None:
        """Read up to `seq`, clamped; the device knows its own."""
        last = self.last
        device.client.send(type="receipt", match=MATCH, read=seq)
        await self.board.advance(0.25)
        await device.hear()
        device.moved(min(seq, last))
        self.reads[device.user] = max(self.reads[device.user], min(seq, last))

    async def check(self) -> None:
        """Every device and the server agree with the list."""
        await self.board.advance(0.25)
        for device in self.devices:
            await device.hear()
            expected = sum(
                seq > self.reads[device.user] and (device.user, author) not in self.blocks for seq, author in self.said
            )
            summary = await device.summary()
            assert (device.user, summary["unread"]) == (device.user, expected)
            assert (device.user, device.unread) == (device.user, expected)


Step = tuple[Literal["say", "read", "block", "unblock", "private", "public", "call"], int]
# What is done, and up to where, or to whom.
steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(
            st.tuples(st.sampled_from(["say", "say", "say", "call", "private", "public"]), st.just(0)),
            st.tuples(st.just("read"), st.integers(0, 14)),
            st.tuples(st.sampled_from(["block", "unblock"]), st.integers(0, 2)),
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


async def live(steps: list[tuple[int, Step, bool]]) -> None:
    """`(device, what it does, look at everything afterwards)`."""
    async with running(Switchboard(rules=Rules(unanswered=1_000))) as board:
        world = World(board)
        await world.open()
        for number_of_device, step, is_checked in steps:
            device = world.devices[number_of_device]
            match step:
                case "say", _:
                    await world.say(device)
                case "read", seq:
                    await world.read(device, seq)
                case ("block" | "unblock") as what, whom:
                    await world.block(device, USERS[whom], is_on=what == "block")
                case ("private" | "public") as what, _:
                    await world.read_in_private(device, is_on=what == "private")
                case "call", _:
                    await world.call(device)
            if is_checked:
                await world.check()
        await world.check()


def run(work: Coroutine[None, None, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work)


@settings(max_examples=60)
@example([(1, ("say", 0), True), (0, ("block", 1), True), (1, ("say", 0), True), (1, ("call", 0), True),
          (3, ("unblock", 1), True), (3, ("private", 0), False), (0, ("read", 3), True)])  # fmt: skip
@given(steps)
def test_unread_is_the_same_on_the_server_on_every_device_and_by_counting(
    steps: list[tuple[int, Step, bool]],
) -> None:
    run(live(steps))
