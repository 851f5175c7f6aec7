"""One connection's conversation: who it is, what it may ask now, when it must end. Pure.

Everything that changes a session's state is in this file. A request that comes back in the returned actions is allowed
at this point of the conversation and within its rate; whether its user belongs to the match is decided where that is
known for certain (the store's transaction, or the hub's members).
"""

from enum import Enum
from typing import Final

from msgspec import Struct, UnsetType

from protocol.calls import CallRequest
from protocol.close_codes import CloseCode
from protocol.codec import Malformed
from protocol.errors import CATALOGUE, ErrorCode
from protocol.from_client import (
    AuthRefresh,
    Block,
    ClientMessage,
    ClientStateSet,
    Hello,
    History,
    Matches,
    MatchSet,
    MessageSend,
    Ping,
    PresenceSet,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
    Unblock,
)
from protocol.from_server import Answer, Error, Ok, Push, TokenExpiring
from protocol.ids import RequestId, UserId
from server.core.rate_limits import RatePolicy, TokenBucket
from server.core.tokens import Claims, TokenRefused

ERRORS_IN_A_ROW_MAX: Final = 20

Request = (
    Matches
    | MessageSend
    | History
    | Sync
    | Receipt
    | Typing
    | PresenceWatch
    | PresenceSet
    | ClientStateSet
    | Block
    | Unblock
    | MatchSet
    | CallRequest
)
# What an authenticated connection may ask for; carried out by the router for the session's user.


class SessionPolicy(Struct, frozen=True):
    """What every session of a node keeps to; times in seconds."""

    auth_timeout_s: float
    token_warning_s: float
    token_grace_s: float
    frames: RatePolicy
    messages: RatePolicy


class Say(Struct, frozen=True, gc=False):
    """Send this message to the session's own connection."""

    message: Answer | Push


class Authenticate(Struct, frozen=True):
    """Find out who the hello's credentials speak for; then call `accept` or `refuse`."""

    hello: Hello
    token: str | None
    ticket: str | None


class Refresh(Struct, frozen=True):
    """Find out who the new token speaks for; then call `renew` or `refuse_renewal`."""

    request: AuthRefresh


class Open(Struct, frozen=True):
    """The session is authenticated: register it, welcome it, send what its cursors missed."""

    hello: Hello


class Close(Struct, frozen=True, gc=False):
    """End the connection after what was sent before."""

    code: CloseCode
    reason: str


Action = Say | Authenticate | Refresh | Open | Close | Request
Actions = tuple[Action, ...]


class _State(Enum):
    NEW = "new"
    AUTHENTICATING = "authenticating"
    OPEN = "open"
    CLOSED = "closed"


class Session:
    """The state of one connection. Times (`now`) are seconds of a monotonic clock."""

    __slots__ = (
        "_errors_in_a_row",
        "_expires_at",
        "_frames",
        "_messages",
        "_policy",
        "_state",
        "_upgrade_credentials",
        "_warned",
        "claims",
        "deadline",
        "user",
    )

    def __init__(
        self, policy: SessionPolicy, now: float, *, token: str | None = None, ticket: str | None = None
    ) -> None:
        """`token` or `ticket` are those of the upgrade request; a hello without its own uses them."""
        self._policy = policy
        self._state = _State.NEW
        self._upgrade_credentials = (token, ticket)
        self._frames = TokenBucket(policy.frames, now)
        self._messages = TokenBucket(policy.messages, now)
        self._errors_in_a_row = 0
        self._expires_at = 0.0
        self._warned = False
        self.user = UserId("")
        # Of the token that holds now; None until there is one.
        self.claims: Claims | None = None
        self.deadline = now + policy.auth_timeout_s

    @property
    def is_closed(self) -> bool:
        """Whether the session has ended, or decided to end."""
        return self._state is _State.CLOSED

    def receive(self, message: ClientMessage, now: float) -> Actions:
        """Advance the conversation by one message of the client."""
        if self._state is _State.CLOSED:
            return ()
        if not self._frames.take(now):
            return self._end(CloseCode.TOO_MANY_FRAMES, "too many frames")
        self._errors_in_a_row = 0
        if self._state is not _State.OPEN:
            return self._receive_before_open(message)
        match message:
            case MessageSend():
                if self._messages.take(now):
                    return (message,)
                return (Say(_rate_limited(message.id, self._messages.retry_after_ms(now))),)
            case Ping():
                return (Say(Ok(message.id)),)
            case AuthRefresh():
                return (Refresh(message),)
            case Hello():
                return (Say(_refusal(ErrorCode.ALREADY_AUTHENTICATED, message.id)),)
            case _:
                return (message,)

    def malformed(self, problem: Malformed, now: float) -> Actions:
        """Answer a message that could not be understood; a client that sends nothing else is ended."""
        if self._state is _State.CLOSED:
            return ()
        if not self._frames.take(now):
            return self._end(CloseCode.TOO_MANY_FRAMES, "too many frames")
        self._errors_in_a_row += 1
        answer = Say(Error(code=problem.code, message=problem.message, id=problem.request_id))
        if self._errors_in_a_row < ERRORS_IN_A_ROW_MAX:
            return (answer,)
        return (answer, *self._end(CloseCode.TOO_MANY_ERRORS, "too many malformed messages"))

    def accept(self, hello: Hello, claims: Claims, expires_at: float) -> Actions:
        """The hello's credentials speak for `claims.user` until `expires_at` (of the same clock as `now`)."""
        if self._state is not _State.AUTHENTICATING:
            return ()
        self._state = _State.OPEN
        self.user = claims.user
        self.claims = claims
        self._expire_at(expires_at)
        return (Open(hello),)

    def refuse(self, hello: Hello, refused: TokenRefused) -> Actions:
        """The hello's credentials were refused: say why and end."""
        if self._state is not _State.AUTHENTICATING:
            return ()
        code = _CLOSE_CODES.get(refused.code, CloseCode.TOKEN_INVALID)
        return (Say(_refused(refused, hello.id)), *self._end(code, "not authenticated"))

    def share_messages(self, bucket: TokenBucket) -> None:
        """Send from now on out of `bucket`, which all of the user's connections share."""
        self._messages = bucket

    def renew(self, request: AuthRefresh, claims: Claims, expires_at: float) -> Actions:
        """The refresh's token is good: live on until it expires, if it is the same user's."""
        if self._state is not _State.OPEN:
            return ()
        if claims.user != self.user:
            error = Error(code=ErrorCode.TOKEN_INVALID, message="the token is another user's", id=request.id)
            return (Say(error),)
        self.claims = claims
        self._expire_at(expires_at)
        return (Say(Ok(request.id)),)

    def refuse_renewal(self, request: AuthRefresh, refused: TokenRefused) -> Actions:
        """The refresh's token was refused; the old one still holds until it expires."""
        if self._state is not _State.OPEN:
            return ()
        return (Say(_refused(refused, request.id)),)

    def tick(self, now: float) -> Actions:
        """Do what is due; afterwards `deadline` says when to call again."""
        if now < self.deadline or self._state is _State.CLOSED:
            return ()
        if self._state is not _State.OPEN:
            return self._end(CloseCode.AUTH_TIMEOUT, "no valid hello in time")
        if self._warned:
            return self._end(CloseCode.TOKEN_EXPIRED, "the token expired")
        self._warned = True
        self.deadline = self._expires_at + self._policy.token_grace_s
        return (Say(TokenExpiring(in_ms=max(0, round((self.deadline - now) * 1000)))),)

    def closed(self) -> None:
        """The connection is gone: nothing more comes of this session."""
        self._state = _State.CLOSED
        self._upgrade_credentials = (None, None)

    def _receive_before_open(self, message: ClientMessage) -> Actions:
        match message:
            case Hello() if self._state is _State.NEW:
                return self._authenticate(message)
            case Hello():
                return (Say(_refusal(ErrorCode.ALREADY_AUTHENTICATED, message.id)),)
            case Ping():
                return (Say(Ok(message.id)),)
            case _:
                request_id = None if isinstance(message.id, UnsetType) else message.id
                return (Say(_refusal(ErrorCode.UNAUTHENTICATED, request_id)),)

    def _authenticate(self, hello: Hello) -> Actions:
        token, ticket = self._upgrade_credentials
        if hello.token or hello.ticket:
            token, ticket = hello.token, hello.ticket
        self._upgrade_credentials = (None, None)
        if not token and not ticket:
            return (Say(_refusal(ErrorCode.UNAUTHENTICATED, hello.id)),)
        self._state = _State.AUTHENTICATING
        return (Authenticate(hello, token, ticket),)

    def _expire_at(self, expires_at: float) -> None:
        self._expires_at = expires_at
        self._warned = False
        self.deadline = expires_at - self._policy.token_warning_s

    def _end(self, code: CloseCode, reason: str) -> Actions:
        self.closed()
        return (Close(code, reason),)


def _refusal(code: ErrorCode, request_id: RequestId | None) -> Error:
    return Error(code=code, message=CATALOGUE[code].what_to_do, id=request_id)


_CLOSE_CODES: Final = {
    ErrorCode.TOKEN_EXPIRED: CloseCode.TOKEN_EXPIRED,
    ErrorCode.RATE_LIMITED: CloseCode.TOO_MANY_FAILURES,
}


def _refused(refused: TokenRefused, request_id: RequestId) -> Error:
    return Error(refused.code, refused.message, request_id, refused.retry_after_ms)


def _rate_limited(request_id: RequestId, retry_after_ms: int) -> Error:
    code = ErrorCode.RATE_LIMITED
    message = CATALOGUE[code].what_to_do
    return Error(code=code, message=message, id=request_id, retry_after_ms=max(1, retry_after_ms), stored="no")
