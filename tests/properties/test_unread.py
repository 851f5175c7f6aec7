"""Unread is never a counter that could drift: what the server tells, what a client keeps from pushes, and what counting
the messages gives are the same number, on every device, whatever happened."""

import asyncio
from collections.abc import Coroutine

from hypothesis import given, settings
from hypothesis import strategies as st

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

    async def hear(self) -> None:
        """Take in everything that came."""
        for push in await self.client.listen():
            self.take(push)

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
            case "receipt" if push["user"] == self.user:
                self.moved(number(push, "read"))

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
        self.said: list[tuple[int, str]] = []
        self.reads = dict.fromkeys(USERS, 1)

    async def open(self) -> None:
        self.devices = [Device(user, await self.board.enter(user)) for user in (*USERS, "alice")]
        await self.board.make(MATCH, *USERS)

    async def say(self, device: Device) -> None:
        """Post from one device; the answer is its entry."""
        count = len(self.said) + 1
        answers = await device.client.ask(
            type="message.send", id=count, match=MATCH, client_id=f"c{count}", body={"text": "hi"}
        )
        (answer,) = (answer for answer in answers if answer["type"] == "ok")
        for push in answers:
            if push is not answer:
                device.take(push)
        device.note({**answer, "n": count})
        device.sent(answer)
        self.said.append((number(answer, "seq"), device.user))
        self.reads[device.user] = number(answer, "seq")

    async def read(self, device: Device, seq: int) -> None:
        """Read up to `seq`, clamped; the device knows its own."""
        last = self.said[-1][0] if self.said else 1
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
            expected = sum(seq > self.reads[device.user] for seq, _ in self.said)
            (page,) = await device.client.ask(type="matches", id="check")
            matches = page["matches"]
            assert isinstance(matches, list)
            assert (device.user, matches[0]["unread"]) == (device.user, expected)
            assert (device.user, device.unread) == (device.user, expected)


steps = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 14)), st.booleans()), min_size=1, max_size=12
)


async def live(steps: list[tuple[int, int | None, bool]]) -> None:
    """`(device, read up to, or else say something; look at everything afterwards)`."""
    async with running(Switchboard()) as board:
        world = World(board)
        await world.open()
        for device, seq, is_checked in steps:
            if seq is None:
                await world.say(world.devices[device])
            else:
                await world.read(world.devices[device], seq)
            if is_checked:
                await world.check()
        await world.check()


def run(work: Coroutine[None, None, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work)


@settings(max_examples=60)
@given(steps)
def test_unread_is_the_same_on_the_server_on_every_device_and_by_counting(
    steps: list[tuple[int, int | None, bool]],
) -> None:
    run(live(steps))
