"""Scenarios: small TOML files that say who is there, who knows whom, what they do and what must hold.

They are data, not programs, so that a run can be repeated from its result alone and a scenario from elsewhere cannot do
anything but load. `loadtest/scenarios/` has ours; a path names one's own.
"""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

_SCENARIOS: Final = resources.files("loadtest") / "scenarios"

Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Shape = Literal["pairs", "groups", "rooms"]
Deed = Literal["cut", "leave", "restart", "note"]


class People(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is there. `devices` is how many each has on average; the first has always one."""

    users: Count = 200
    devices: Annotated[float, Meta(ge=1, le=10)] = 1.0
    connects_per_s: Annotated[float, Meta(gt=0, le=100_000)] = 300.0
    hidden_share: Share = 0.0
    # Of users whose tab or app is in the background: what comes is delivered and not read.
    watch: bool = True
    # Whether they watch their partners' presence, up to 20 of them.


class Matches(Struct, frozen=True, forbid_unknown_fields=True):
    """Who knows whom: `per_user` pairs each, groups of `size`, or rooms of `size` (one room of all when left out)."""

    shape: Shape = "pairs"
    size: Count | None = None
    per_user: Count = 1


class Chat(Struct, frozen=True, forbid_unknown_fields=True):
    """How they write. The rate is offered whether the server keeps up or not; it is divided among those connected."""

    messages_per_user_per_min: Rate = 2.0
    profile: str = "irc"
    is_talk: bool = True
    # In exchanges with the turns and pauses of the profile; else each message by itself (Poisson).
    haste: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    # Divides the pauses inside exchanges: a short run sees whole ones.
    typing: bool = True
    receipts: bool = True


class Life(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to devices, per device and minute on average, and for how long (seconds, evenly up to it)."""

    flaps_per_min: Rate = 0.0
    # A goodbye, and back within `flap_s`.
    flap_s: float = 4.0
    drops_per_min: Rate = 0.0
    # The network is gone without a word, and back within `drop_s`.
    drop_s: float = 12.0
    pauses_per_min: Rate = 0.0
    # Nothing is read from the socket for up to `pause_s`.
    pause_s: float = 10.0
    hides_per_min: Rate = 0.0
    # Nobody looks at it (`client_state`) for up to `hide_s`; then what came is read.
    hide_s: float = 20.0
    history_per_min: Rate = 0.0
    # A page of history from a random place of the log.
    calls_per_min: Rate = 0.0
    # A call by canned SDP, to whoever is in the match, which lasts up to `call_s`.
    call_s: float = 10.0


class Media(Struct, frozen=True, forbid_unknown_fields=True):
    """Calls in which sound and pictures flow (aiortc): so many pairs call each other, hang up, and call again.

    A side that has no frame of each kind `within_s` of the acceptance is a broken promise. A handful is meant: each
    side encodes and decodes, which costs more than a thousand people who chat.
    """

    calls: Annotated[int, Meta(ge=1, le=50)] = 2
    kind: Literal["audio", "video"] = "video"
    call_s: Annotated[float, Meta(gt=0)] = 10.0
    pause_s: Annotated[float, Meta(gt=0)] = 4.0
    within_s: Annotated[float, Meta(gt=0)] = 15.0
    relay_only: bool = True
    # Through the relay although there may be a shorter way.


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """Something at a moment, drawn into every plot.

    `cut`: `share` of all connections are lost at once. `leave`: they say goodbye and come back. `restart`: the command given
    by `--restart` is run here. `note`: nothing but the line in the plot. `every_s` repeats it.
    """

    at_s: float
    what: Deed
    name: str = ""
    share: Share = 1.0
    every_s: float | None = None


class Ceiling(Struct, frozen=True, forbid_unknown_fields=True):
    """The search for the highest load that keeps the budgets: steps of `step_s`, each `factor` higher, then halving."""

    from_per_s: Annotated[float, Meta(gt=0)] = 50.0
    factor: Annotated[float, Meta(gt=1, le=10)] = 1.6
    step_s: Annotated[float, Meta(ge=1)] = 10.0
    steps_max: Count = 40
    within: Annotated[float, Meta(gt=0, lt=1)] = 0.08
    # Ends when the highest that held and the lowest that broke are so near to each other.


class Promises(Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold beside what always must. `is_disturbed`: connections and nodes are broken on purpose, so that pushes
    may come again, late or not at all until they are asked for; these are counted and not judged. `is_one_node`: without
    it two entries that two nodes stored at the same time may swap places on their way, which clients put right."""

    is_disturbed: bool = False
    is_one_node: bool = True
    late_after_s: Annotated[float, Meta(gt=0)] = 5.0
    presence_grace_s: Annotated[float, Meta(gt=0)] = 5.0
    ring_grace_s: Annotated[float, Meta(gt=0)] = 10.0


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `budgets` are names of `loadtest.budgets` and their highest (or lowest) values."""

    title: str
    about: str
    people: People = People()
    matches: Matches = Matches()
    chat: Chat = Chat()
    life: Life = Life()
    media: Media | None = None
    promises: Promises = Promises()
    duration_s: Annotated[float, Meta(gt=0)] = 60.0
    warm_up_s: Annotated[float, Meta(ge=0)] = 5.0
    events: tuple[Event, ...] = ()
    budgets: dict[str, float] = {}
    ceiling: Ceiling | None = None
    needs_log: bool = False
    # Replays the chat log given by `--log` instead of inventing talk.


class BadScenario(Exception):
    """A scenario that is not there or not understood; its text is for people."""


def names() -> list[str]:
    """Return the names of our own scenarios."""
    return sorted(each.name.removesuffix(".toml") for each in _SCENARIOS.iterdir() if each.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """Read one of ours by its name, or a file by its path; raise `BadScenario`."""
    source: Traversable | Path = _SCENARIOS / f"{name}.toml" if name in names() else Path(name)
    try:
        return msgspec.toml.decode(source.read_bytes(), type=Scenario)
    except OSError:
        raise BadScenario(f"no scenario {name!r}: a path, or one of {', '.join(names())}") from None
    except msgspec.DecodeError as error:
        raise BadScenario(f"{name}: {error}") from None
