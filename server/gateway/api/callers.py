"""Who calls the HTTP API: the app's backend by an API key, or one user by an access token."""

from starlette.requests import Request

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.core.api_keys import ApiKeys
from server.core.tokens import Claims, TokenRefused
from server.gateway.api.answers import Problem
from server.identities import Identities


class Callers:
    """Reads the Authorization header, `Bearer` and a key or a token."""

    __slots__ = ("_identities", "_keys")

    def __init__(self, keys: ApiKeys, identities: Identities) -> None:
        self._keys = keys
        self._identities = identities

    async def backend(self, request: Request) -> None:
        """Let only the app's backend pass."""
        if await self.anyone(request) is not None:
            raise Problem(ErrorCode.FORBIDDEN, "this needs an API key")

    async def anyone(self, request: Request) -> Claims | None:
        """Return whom a user's token speaks for; None for the backend."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Problem(ErrorCode.UNAUTHENTICATED, "send `Authorization: Bearer` and an API key or an access token")
        if self._keys.accepts(credential):
            return None
        outcome = await self._identities.identify(credential)
        if isinstance(outcome, TokenRefused):
            raise Problem(outcome.code, outcome.message)
        return outcome

    async def user_or_backend(self, request: Request, user: UserId) -> None:
        """Let the backend pass, and `user`."""
        claims = await self.anyone(request)
        if claims is not None and claims.user != user:
            raise Problem(ErrorCode.FORBIDDEN, "this is another user's")
