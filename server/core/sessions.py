"""What is known of one connected session beside its socket."""

from msgspec import Struct

from protocol.ids import Micros, SessionId, UserId
from server.core.tokens import Claims


class SessionInfo(Struct, frozen=True):
    """Where and since when a session is connected, and by what token. `device` is what its hello said."""

    user: UserId
    session: SessionId
    device: str | None
    connected_at: Micros
    node: str
    claims: Claims
