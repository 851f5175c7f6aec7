"""Calls over HTTP: the record of them, how a user wants to be called, and the end of one by the app."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from protocol.calls import WireCallId
from protocol.errors import ErrorCode
from protocol.ids import WireMatchId, WireUserId
from protocol.limits import PAGE_DEFAULT, PAGE_MAX
from server.calls.book import decode_call
from server.calls.exchange import Exchange
from server.core.calls import CallRow, CallSettings
from server.gateway.api.answers import Problem, answer, body, in_path, in_query, unrefused, user_in_path
from server.gateway.api.callers import Callers
from server.ports import Calls
from signaling.call import Call
from signaling.views import CallRecord, record_of

_settings: Final = msgspec.json.Decoder(CallSettings).decode


class CallsAnswer(Struct, frozen=True):
    """A page of calls, newest start first; `before` of the next page is the last one's `call`."""

    calls: tuple[CallRecord, ...]
    complete: bool


class CallEndpointsParts(Struct, frozen=True):
    """What these endpoints work with."""

    store: Calls
    exchange: Exchange
    callers: Callers


class CallEndpoints:
    """The handlers; each takes a Starlette request and returns the response or raises `Problem`."""

    def __init__(self, parts: CallEndpointsParts) -> None:
        self._parts = parts

    async def list_calls(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request)
        user = in_query(request, "user", WireUserId)
        if claims is not None and user not in (None, claims.user):
            raise Problem(ErrorCode.FORBIDDEN, "a user's token reads the user's own calls")
        page = await self._parts.store.list_calls(
            user=user if claims is None else claims.user,
            match=in_query(request, "match", WireMatchId),
            before=in_query(request, "before", WireCallId),
            limit=in_query(request, "limit", _Limit) or PAGE_DEFAULT,
        )
        return answer(CallsAnswer(tuple(map(_record, page.rows)), page.complete))

    async def get_call(self, request: Request) -> Response:
        claims = await self._parts.callers.anyone(request)
        call = await self._call(request)
        if claims is not None and claims.user not in call.people:
            raise Problem(ErrorCode.NOT_FOUND, "there is no such call")
        return answer(record_of(call))

    async def end_call(self, request: Request) -> Response:
        await self._parts.callers.backend(request)
        call = await self._call(request)
        unrefused(await self._parts.exchange.end(call.call))
        return Response(status_code=204)

    async def _call(self, request: Request) -> Call:
        name = in_path(request, "call", WireCallId)
        view = await self._parts.store.call_view(call=name, caller=None, since_us=0)
        if view.row is None:
            raise Problem(ErrorCode.NOT_FOUND, "there is no such call")
        return decode_call(view.row.value)

    async def get_call_settings(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        return answer(await self._parts.store.call_settings(user))

    async def put_call_settings(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        settings = await body(request, _settings)
        await self._parts.store.set_call_settings(user, settings)
        return answer(settings)


_Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]


def _record(row: CallRow) -> CallRecord:
    return record_of(decode_call(row.value))
