"""How users are, for the app's backend."""

from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from protocol.errors import ErrorCode
from protocol.from_server import Presence
from protocol.ids import UserId, WireUserId
from protocol.limits import WATCHED_MAX
from server.gateway.api.answers import Problem, answer, each_in_query
from server.gateway.api.callers import Callers
from server.ports import Bus

SEPARATOR: Final = ","


class PresenceAnswer(Struct, frozen=True):
    """The users asked for, each once, as those who may see them see them now."""

    presence: tuple[Presence, ...]


class PresenceEndpoints:
    """The handlers; each takes a Starlette request and returns the response or raises `Problem`."""

    def __init__(self, bus: Bus, callers: Callers) -> None:
        self._bus = bus
        self._callers = callers

    async def get_presence(self, request: Request) -> Response:
        await self._callers.backend(request)
        return answer(PresenceAnswer(tuple(await self._bus.presence_of(_users(request)))))


def _users(request: Request) -> tuple[UserId, ...]:
    """Read `users`, joined by commas, and `user`, which may be there often and have commas in it."""
    listed = each_in_query(request, "users", WireUserId, separator=SEPARATOR)
    users = tuple(dict.fromkeys((*listed, *each_in_query(request, "user", WireUserId))))
    if not 1 <= len(users) <= WATCHED_MAX:
        raise Problem(ErrorCode.BAD_REQUEST, f"name 1 to {WATCHED_MAX} users - at users in the query")
    return users
