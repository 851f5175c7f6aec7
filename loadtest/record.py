"""What one client did and saw, in its own order: the evidence that `loadtest.checker` weighs."""

from dataclasses import dataclass, field

from protocol.from_client import Body
from protocol.from_server import Entry
from protocol.ids import ClientId, MatchId, Micros, Seq, UserId

Key = tuple[MatchId, UserId, ClientId]
# What names a message: posted twice under one key it is stored once.


@dataclass(slots=True)
class Ack:
    """An `ok` to `message.send`: what it said, when it came (seconds), on which of the client's connections."""

    seq: Seq
    created_at: Micros
    duplicate: bool
    at_s: float
    connection: int


@dataclass(slots=True)
class Submission:
    """A message that the client wanted stored. `refused` names the code of an error that nothing follows."""

    match: MatchId
    client_id: ClientId
    body: Body
    called_at_s: float
    transmissions: list[int] = field(default_factory=list)
    # The number of the connection of each attempt.
    acks: list[Ack] = field(default_factory=list)
    refused: str = ""


@dataclass(slots=True)
class ClientLog:
    """Everything one device of one user did and showed. `shown` is in the order that its user saw it."""

    user: UserId
    device: str = ""
    submitted: dict[tuple[MatchId, ClientId], Submission] = field(default_factory=dict)
    shown: dict[MatchId, list[Entry]] = field(default_factory=dict)
    left: dict[MatchId, bool] = field(default_factory=dict)
    connections: int = 0
    synced: int = 0
    dropped: int = 0
    # Entries that came again and were recognised.
    resets: int = 0
    close_codes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The user and device, for findings."""
        return f"{self.user}/{self.device}" if self.device else self.user

    @property
    def unacked(self) -> int:
        """How many submissions have neither ack nor final refusal."""
        return sum(not each.acks and not each.refused for each in self.submitted.values())
