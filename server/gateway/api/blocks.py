"""Blocks over HTTP: for the app's backend, and for users themselves."""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from protocol.ids import UserId, WireUserId
from server.gateway.api.answers import answer, in_path, unrefused, user_in_path
from server.gateway.api.callers import Callers
from server.ports import Store
from server.privacy import Privacy


class BlocksAnswer(Struct, frozen=True):
    """Everybody whom the user has blocked."""

    blocked: tuple[UserId, ...]


class BlockEndpointsParts(Struct, frozen=True):
    """What these endpoints work with."""

    store: Store
    privacy: Privacy
    callers: Callers


class BlockEndpoints:
    """The handlers; each takes a Starlette request and returns the response or raises `Problem`."""

    def __init__(self, parts: BlockEndpointsParts) -> None:
        self._parts = parts

    async def list_blocks(self, request: Request) -> Response:
        user = user_in_path(request)
        await self._parts.callers.user_or_backend(request, user)
        (person,) = await self._parts.store.people((user,))
        return answer(BlocksAnswer(tuple(sorted(person.blocked))))

    async def put_block(self, request: Request) -> Response:
        return await self._set_block(request, is_on=True)

    async def end_block(self, request: Request) -> Response:
        return await self._set_block(request, is_on=False)

    async def _set_block(self, request: Request, *, is_on: bool) -> Response:
        user, other = user_in_path(request), in_path(request, "other", WireUserId)
        claims = await self._parts.callers.user_or_backend(request, user)
        # The backend acts for many, and knows what it does.
        unrefused(await self._parts.privacy.block(user, other, is_on=is_on, is_counted=claims is not None))
        return Response(status_code=204)
