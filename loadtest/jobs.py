"""What the coordinator and the processes that make load tell each other: msgspec structs, as MessagePack.

Times are the coordinator's monotonic microseconds; each process adds the offset it was told in `Begin`.
"""

from msgspec import Struct

from loadtest.findings import Report
from loadtest.meters import Meters
from loadtest.profile import Profile
from loadtest.scenario import Scenario
from protocol.calls import IceServer


class Person(Struct, frozen=True, array_like=True):
    """A user whom one process plays."""

    index: int
    user: str
    token: str
    devices: int


class Room(Struct, frozen=True, array_like=True):
    """A match that people of one process are in. `is_judged`: this process weighs its log, for all."""

    match: str
    members: tuple[str, ...]
    local: tuple[int, ...]
    # Indices of those who are played by the process that is told.
    is_judged: bool


class Job(Struct, frozen=True, tag=True):
    """Everything that one process does; `share` is its part of the whole load."""

    run: str
    url: str
    number: int
    seed: int
    share: float
    rate_per_s: float
    scenario: Scenario
    profile: Profile
    people: tuple[Person, ...]
    rooms: tuple[Room, ...]
    log: str = ""
    # The text to replay.
    nicks: tuple[tuple[str, ...], ...] = ()
    # Whom of the replay each of `people` is.
    authority: str = ""
    # PEM of who signed the server's certificate; empty: whom the system believes.
    relays: tuple[IceServer, ...] = ()
    # For calls with media, instead of those that the server hands out.


class Clock(Struct, frozen=True, tag=True):
    """What time is it there?"""

    number: int


class Begin(Struct, frozen=True, tag=True):
    """Start the load at `at_us`; `offset_us` makes your clock mine."""

    at_us: int
    offset_us: int


class Pace(Struct, frozen=True, tag=True):
    """Offer `rate_per_s` in all from now on."""

    rate_per_s: float


class Deal(Struct, frozen=True, tag=True):
    """`cut` or `leave`, for a share of the connections."""

    what: str
    share: float


class Finish(Struct, frozen=True, tag=True):
    """Say nothing new, wait for what is under way, weigh."""


class ClockIs(Struct, frozen=True, tag=True):
    """The time here."""

    number: int
    at_us: int


class Connected(Struct, frozen=True, tag=True):
    """Everybody tried to connect; so many are, and why others are not."""

    devices: int
    troubles: dict[str, int]


class Sample(Struct, frozen=True, tag=True):
    """One second here. `cpu` is the share of a core that this process used."""

    at_us: int
    connected: int
    cpu: float
    meters: Meters


class Weighed(Struct, frozen=True, tag=True):
    """What the checker says, and what was counted beside it."""

    report: Report
    meters: Meters
    connected: int
    notes: tuple[str, ...] = ()


class Failed(Struct, frozen=True, tag=True):
    """This process cannot go on."""

    reason: str


ToAgent = Job | Clock | Begin | Pace | Deal | Finish
FromAgent = ClockIs | Connected | Sample | Weighed | Failed
