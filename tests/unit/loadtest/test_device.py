"""What a device of the load tester makes of what comes, without a connection."""

from collections.abc import Coroutine

import msgspec

from loadtest.clock import Chance
from loadtest.device import Device
from loadtest.scene import Scene, User
from protocol.from_server import Message, Presence, PresenceChanged, Status, Watching
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId


def no_task(coroutine: Coroutine[object, object, None]) -> None:
    """Refuse to do anything by itself."""
    raise AssertionError(coroutine)


def device() -> Device:
    """Return a device of a user with one match and one partner."""
    scene = Scene("run", "ws://127.0.0.1:1/ws", Chance(1), lambda _, length: "x" * length, no_task, 5_000_000, True)
    return Device(scene, User("ann", "token", {MatchId("m"): 0}, (UserId("bob"),)), 0, "")


def hear(there: Device, message: msgspec.Struct) -> None:
    """Have a text come."""
    there._text(msgspec.json.encode(message))


def test_news_of_presence_that_overtook_an_older_answer_stay() -> None:
    """Of two with the same user the higher `v` is the newer."""
    there = device()
    hear(there, PresenceChanged((Presence(UserId("bob"), Status.ONLINE, 7),)))
    there._watching(msgspec.json.encode(Watching(1, (Presence(UserId("bob"), Status.OFFLINE, 6),))))
    assert there.sees[UserId("bob")].status == "online"
    hear(there, PresenceChanged((Presence(UserId("bob"), Status.OFFLINE, 8),)))
    assert there.sees[UserId("bob")].status == "offline"


async def test_what_comes_while_nobody_looks_is_read_when_somebody_does() -> None:
    """Delivered at once, read later."""
    there = device()
    there.inbox.held[MatchId("m")].begin(1, 10)
    there.hide()
    text = msgspec.Raw(b'{"text":"hi"}')
    hear(there, Message(MatchId("m"), Seq(2), Micros(20), Ordinal(1), UserId("bob"), ClientId("c"), text))
    assert there.inbox.unread == {"m": 2}
    there.inbox.unread.clear()
    there.show()
    assert there.inbox.unread == {"m": 2}
    assert not there.is_hidden
    assert there.looked_us


async def test_a_message_that_the_run_did_not_send_is_shown_and_not_timed() -> None:
    """So that the checker sees it."""
    there = device()
    there.inbox.held[MatchId("m")].begin(1, 10)
    text = msgspec.Raw(b'{"text":"hi"}')
    hear(there, Message(MatchId("m"), Seq(2), Micros(20), Ordinal(1), UserId("bob"), ClientId("c"), text))
    assert there.inbox.held[MatchId("m")].last == 2
    assert "delivery" not in there._scene.meters.times
