"""What a commit left to be told to other nodes."""

from typing import Final

from msgspec import Struct

from protocol.ids import MatchId, Micros

ROUTES_KEPT_S: Final = 120
# Once they are routed.


class Span(Struct, frozen=True):
    """Entries of one match that one batch added: from the first one's time to the last one's, both included."""

    match: MatchId
    first_at: Micros
    last_at: Micros


class Route(Struct, frozen=True):
    """One batch that was stored: by or, after a claim, for which node, and what it added."""

    route_id: int
    node: str
    spans: tuple[Span, ...]
