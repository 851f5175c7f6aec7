"""Who calls the HTTP API: the app's backend by an API key, or one user by an access token; and how often they may.

An API key is looked at first, so that nobody's failures lock the backend out. What fails counts against the client's
address, which behind a trusted proxy is the one that it tells.
"""

from starlette.requests import Request

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.core.addresses import TrustedProxies
from server.core.api_keys import ApiKeys
from server.core.tokens import Claims, TokenRefused
from server.gateway.api.answers import Problem
from server.gateway.api.limits import ApiLimits
from server.identities import Identities


class Callers:
    """Reads the Authorization header, `Bearer` and a key or a token."""

    __slots__ = ("_identities", "_keys", "_limits", "_proxies")

    def __init__(self, keys: ApiKeys, identities: Identities, limits: ApiLimits, proxies: TrustedProxies) -> None:
        self._keys = keys
        self._identities = identities
        self._limits = limits
        self._proxies = proxies

    async def backend(self, request: Request, *, mints: bool = False) -> None:
        """Let only the app's backend pass."""
        if await self._identify(request, mints=mints) is not None:
            raise Problem(ErrorCode.FORBIDDEN, "this needs an API key")

    async def anyone(self, request: Request, *, mints: bool = False) -> Claims | None:
        """Return whom a user's token speaks for; None for the backend. Requests are counted, and what they mint."""
        return await self._identify(request, mints=mints)

    async def user_or_backend(self, request: Request, user: UserId) -> Claims | None:
        """Let the backend pass (None), and `user`."""
        claims = await self.anyone(request)
        if claims is not None and claims.user != user:
            raise Problem(ErrorCode.FORBIDDEN, "this is another user's")
        return claims

    async def _identify(self, request: Request, *, mints: bool) -> Claims | None:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Problem(ErrorCode.UNAUTHENTICATED, "send `Authorization: Bearer` and an API key or an access token")
        key = self._keys.name(credential)
        if key is not None:
            await self._limits.by_key(request, key, mints=mints)
            return None
        claims = await self._user(request, credential)
        await self._limits.by_user(request, claims.user, mints=mints)
        return claims

    async def _user(self, request: Request, token: str) -> Claims:
        outcome = await self._identities.identify(token, self._address(request))
        if isinstance(outcome, TokenRefused):
            raise Problem(outcome.code, outcome.message, retry_after_ms=outcome.retry_after_ms)
        return outcome

    def _address(self, request: Request) -> str:
        peer = request.client.host if request.client is not None else ""
        if not self._proxies:
            return peer
        headers = request.headers
        return self._proxies.client(peer, headers.getlist("x-forwarded-for"), headers.getlist("forwarded"))
