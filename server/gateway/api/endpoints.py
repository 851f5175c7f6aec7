"""What each request of the API does. Every change goes the way that a socket's does: through the journal, then delivered."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from protocol.codec import Malformed, check_text, encode_body, encode_data
from protocol.errors import ErrorCode
from protocol.ids import MatchId, Micros, UserId
from protocol.limits import MEMBERS_MIN
from server.core.log import NOT_FOUND, Append, Appended, MembersSet, Refused
from server.core.rate_limits import UserBuckets
from server.core.tokens import Claims, TokenMinter
from server.delivery import Delivery
from server.gateway.api.answers import (
    Problem,
    answer,
    body,
    clean_id,
    match_in_path,
    paging,
    session_in_path,
    unrefused,
    user_in_path,
)
from server.gateway.api.callers import Callers
from server.gateway.api.requests import (
    EventAnswer,
    EventRequest,
    MatchAnswer,
    MatchesAnswer,
    MembersRequest,
    MessageAnswer,
    MessageRequest,
    MessagesAnswer,
    SessionAnswer,
    SessionsAnswer,
    TicketAnswer,
    TicketRequest,
    TokenAnswer,
    TokenRequest,
)
from server.identities import Identities
from server.journal import Journal
from server.ports import Clock, Sessions, Store
from server.revoker import Revoker
from server.views import Views

TICKET_TTL_S: Final = 30

Written = TypeVar("Written", Appended, MembersSet)

_token_request = msgspec.json.Decoder(TokenRequest).decode
_ticket_request = msgspec.json.Decoder(TicketRequest).decode
_members_request = msgspec.json.Decoder(MembersRequest).decode
_message_request = msgspec.json.Decoder(MessageRequest).decode
_event_request = msgspec.json.Decoder(EventRequest).decode


class ApiParts(Struct, frozen=True):
    """What the API works with; made by `server.app`. Without a `minter` this node mints no tokens."""

    store: Store
    views: Views
    journal: Journal
    delivery: Delivery
    members_set: Callable[[MembersSet], None]
    callers: Callers
    identities: Identities
    minter: TokenMinter | None
    message_buckets: UserBuckets
    sessions: Sessions
    revoker: Revoker
    clock: Clock
    members_max: int
    token_max_ttl_s: int


class Endpoints:
    """The handlers; each takes a Starlette request and returns the response or raises `Problem`."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    # ---- tokens and tickets

    async def make_token(self, request: Request) -> Response:
        await self._parts.callers.backend(request, mints=True)
        asked = await body(request, _token_request)
        clean_id("$.user", asked.user)
        if self._parts.minter is None:
            raise Problem(ErrorCode.NOT_FOUND, "this node mints no tokens: your issuer does (TOKEN_SECRETS is not set)")
        if asked.ttl_s > self._parts.token_max_ttl_s:
            raise Problem(ErrorCode.BAD_REQUEST, f"at most {self._parts.token_max_ttl_s} - at `$.ttl_s`")
        now, token_id = self._parts.identities.wall_s(), self._parts.clock.random_id()
        token, claims = self._parts.minter.mint(asked.user, asked.ttl_s, now, token_id)
        return answer(TokenAnswer(token, asked.user, Micros(round(claims.expires_at * 1_000_000))), 201)

    async def make_ticket(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request, mints=True)
        asked = await body(request, _ticket_request)
        if claims is None:
            claims = self._claims_for(asked.user)
        elif asked.user not in (None, claims.user):
            raise Problem(ErrorCode.FORBIDDEN, "a token's ticket is for the token's user")
        ticket = await self._parts.identities.issue_ticket(claims)
        return answer(TicketAnswer(ticket, TICKET_TTL_S), 201)

    def _claims_for(self, user: UserId | None) -> Claims:
        if user is None:
            raise Problem(ErrorCode.BAD_REQUEST, "name the user - at `$.user`")
        clean_id("$.user", user)
        now = self._parts.identities.wall_s()
        return Claims(user, now + self._parts.token_max_ttl_s, now, self._parts.clock.random_id())

    # ---- matches

    async def put_match(self, request: Request) -> Response:
        await self._parts.callers.backend(request)
        match = match_in_path(request)
        asked = await body(request, _members_request)
        members = tuple(dict.fromkeys(asked.members))
        if not MEMBERS_MIN <= len(members) <= self._parts.members_max:
            limits = f"{MEMBERS_MIN} to {self._parts.members_max}"
            raise Problem(ErrorCode.BAD_REQUEST, f"{limits} different users - at `$.members`")
        for member in members:
            clean_id("$.members[...]", member)
        return await self._set_members(match, members)

    async def end_match(self, request: Request) -> Response:
        await self._parts.callers.backend(request)
        match = match_in_path(request)
        if await self._parts.store.match(match) is None:
            raise Problem(NOT_FOUND.code, NOT_FOUND.message)
        await self._set_members(match, ())
        return Response(status_code=204)

    async def get_match(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request)
        return await self._match(match_in_path(request), claims)

    async def _set_members(self, match: MatchId, members: tuple[UserId, ...]) -> Response:
        parts = self._parts
        # The members are told in commit order, and also when the caller has gone meanwhile.
        change = unrefused(await _outcome(partial(parts.journal.set_members, match, members), parts.members_set))
        return await self._match(match, None, 201 if change.made else 200)

    async def _match(self, match: MatchId, viewer: Claims | None, status: int = 200) -> Response:
        state = await self._parts.store.match(match)
        if viewer is not None and (state is None or viewer.user not in state.members):
            raise Problem(ErrorCode.NOT_MEMBER)
        if state is None:
            raise Problem(NOT_FOUND.code, NOT_FOUND.message)
        return answer(MatchAnswer(state.match, state.members, state.last_seq, state.last_at, state.messages), status)

    async def list_matches(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        page = paging(request, of_matches=True)
        found = await self._parts.views.summaries(user, page.before, page.limit)
        return answer(MatchesAnswer(found.matches, found.complete))

    # ---- messages

    async def list_messages(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request)
        match, page = match_in_path(request), paging(request)
        store, views = self._parts.store, self._parts.views
        history = partial(store.history, match, None) if claims is None else partial(views.history, match, claims.user)
        found = unrefused(await history(before=page.before, after=page.after, limit=page.limit))
        return answer(MessagesAnswer(found.entries, found.complete))

    async def post_message(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request)
        match = match_in_path(request)
        asked = await body(request, _message_request)
        append = self._append(match, self._sender(asked, claims), asked)
        if claims is not None:
            self._count_message(claims.user)
        parts = self._parts
        stored = unrefused(await _outcome(partial(parts.journal.append, append), parts.delivery.message_stored))
        message = stored.message
        placed = MessageAnswer(message.match, message.seq, message.created_at, stored.duplicate)
        return answer(placed, 200 if stored.duplicate else 201)

    def _count_message(self, user: UserId) -> None:
        """Take it out of the bucket that the user's connections share."""
        now = self._parts.clock.now()
        bucket = self._parts.message_buckets.bucket(user, now)
        if not bucket.take(now):
            raise Problem(ErrorCode.RATE_LIMITED, retry_after_ms=max(1, bucket.retry_after_ms(now)))

    def _sender(self, asked: MessageRequest, claims: Claims | None) -> UserId:
        if claims is not None and asked.sender not in (None, claims.user):
            raise Problem(ErrorCode.FORBIDDEN, "a user's token sends as its user")
        sender = claims.user if claims is not None else asked.sender
        if sender is None:
            raise Problem(ErrorCode.BAD_REQUEST, "name the sender - at `$.sender`")
        clean_id("$.sender", sender)
        return sender

    def _append(self, match: MatchId, sender: UserId, asked: MessageRequest) -> Append:
        clean_id("$.client_id", asked.client_id)
        try:
            check_text("$.body.text", asked.body.text)
            return Append(match, sender, asked.client_id, encode_body(asked.body), asked.reply_to)
        except Malformed as problem:
            raise Problem(problem.code, problem.message) from None

    # ---- sessions

    async def list_sessions(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        found = await self._parts.sessions.of(user)
        told = (SessionAnswer(each.session, each.device, each.connected_at, each.node) for each in found)
        return answer(SessionsAnswer(tuple(told)))

    async def end_sessions(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        await self._parts.revoker.sign_out(user)
        return Response(status_code=204)

    async def end_session(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        if not await self._parts.revoker.end_session(user, session_in_path(request)):
            raise Problem(ErrorCode.NOT_FOUND, "the user has no such session")
        return Response(status_code=204)

    # ---- events

    async def post_event(self, request: Request) -> Response:
        await self._parts.callers.backend(request)
        user = user_in_path(request)
        asked = await body(request, _event_request)
        clean_id("$.name", asked.name)
        try:
            encode_data("$.data", asked.data)  # bounded like a message's, or encoding it could fail in the middle
        except Malformed as problem:
            raise Problem(problem.code, problem.message) from None
        return answer(EventAnswer(self._parts.delivery.event(user, asked.name, asked.data)), 202)


async def _outcome(
    write: Callable[[Callable[[Written | Refused], None]], None], deliver: Callable[[Written], None]
) -> Written | Refused:
    """Wait for what a write came to; what was written is delivered first."""
    outcome: asyncio.Future[Written | Refused] = asyncio.get_running_loop().create_future()

    def done(written: Written | Refused) -> None:
        if not isinstance(written, Refused):
            deliver(written)
        if not outcome.done():
            outcome.set_result(written)

    write(done)
    return await outcome
