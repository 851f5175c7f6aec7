"""Checks a relay by using it: allocations, permissions, an echo from relay to relay, and what it has to refuse.

Each finding is one line. A failed one means that calls fail, or that strangers can use the relay for something else.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import Final, Literal, TypeVar

from aioice import stun
from msgspec import Struct

from protocol.ids import Micros
from turn.configuration import RelayConfiguration
from turn.credentials import US_PER_S, Credential, ephemeral
from turn.tool.allocation import Allocation, PeerAddress, allocate, reflected
from turn.tool.words import code_of, words_of
from turn.urls import IceUrl

Level = Literal["ok", "warning", "FAILED"]
T = TypeVar("T")
SUBJECT: Final = "turn-check"
# Peers that a relay for calls has no business with, and who they are to it.
STRANGERS: Final = {
    "127.0.0.1": "its own machine",
    "169.254.169.254": "the cloud's metadata with its keys",
    "10.0.0.1": "its private network",
    "192.168.0.1": "its private network",
    "224.0.0.1": "everybody at once",
}
STRANGERS_PORT: Final = 9
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
# How wrong clocks are found: one credential that ended a while ago, one that ends far beyond every other.
LATE_S: Final = 60
FAR_S: Final = 30 * 86_400

Problem = (stun.TransactionError, OSError)


class Questions(Struct, frozen=True):
    """How relays are asked: with which credentials, at what time, and how long each answer may take."""

    configuration: RelayConfiguration
    micros: Callable[[], Micros]
    tls: ssl.SSLContext
    limit_s: float


class Checker:
    """Checks one address after the other; each finding goes to `say` as soon as it is known."""

    def __init__(self, questions: Questions, say: Callable[[Level, str], None]) -> None:
        self._questions = questions
        self._say = say

    async def check(self, url: IceUrl) -> None:
        """Ask everything of the server at `url`."""
        if url.is_relay:
            await self._check_relay(url)
        else:
            await self._check_reflector(url)

    async def _check_reflector(self, url: IceUrl) -> None:
        try:
            mapped = await self._within(reflected(url, self._questions.tls))
        except Problem as problem:
            self._fail(words_of(problem, url, self._questions.limit_s))
        else:
            self._say("ok", f"sees this machine at {_show(mapped)}")

    async def _check_relay(self, url: IceUrl) -> None:
        now, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
        credential = self._credential(self._questions.configuration.ttl_s)
        async with AsyncExitStack() as stack:
            try:
                first = await self._enter(stack, url, credential)
            except Problem as problem:
                self._fail(await self._explain(problem, url))
                return
            took = f"{(now() - began) * 1000:.0f} ms"
            self._say(
                "ok", f"relays from {_show(first.relayed)}, sees this machine at {_show(first.mapped)}, after {took}"
            )
            self._compare_addresses(first)
            await self._talk(url, first, credential)
            await self._ask_for_strangers(first)
        await self._come_without_right(url)

    # ---- what has to work

    async def _talk(self, url: IceUrl, first: Allocation, credential: Credential) -> None:
        """Have two allocations talk through the relay, as the two parties of a call do."""
        async with AsyncExitStack() as stack:
            try:
                second = await self._enter(stack, url, credential)
                await self._within(_meet(first, second))
                await self._within(first.ask(b"are you there"))
            except TimeoutError:
                self._fail(
                    "from relay to relay nothing arrives: its relay ports (`min-port` to `max-port`, UDP) are closed,"
                    " or `external-ip` is wrong"
                )
            except Problem as problem:
                self._fail(self._talk_refused(problem, first, url))
            else:
                self._say("ok", "from relay to relay and back")

    def _talk_refused(self, problem: Exception, first: Allocation, url: IceUrl) -> str:
        if code_of(problem) == FORBIDDEN:
            own = first.relayed[0]
            return f"the relay refuses itself as a peer, so two relayed parties cannot talk: add `allowed-peer-ip={own}` (403)"
        return words_of(problem, url, self._questions.limit_s)

    def _compare_addresses(self, first: Allocation) -> None:
        if ip_address(first.relayed[0]).is_private and not ip_address(first.server).is_private:
            self._fail(f"it tells others its private address {first.relayed[0]}: set `external-ip`")

    # ---- what has to be refused

    async def _ask_for_strangers(self, first: Allocation) -> None:
        refused = []
        for host, who in STRANGERS.items():
            try:
                await self._within(first.permit((host, STRANGERS_PORT)))
            except stun.TransactionFailed as failed:
                refused.append(f"{host} ({code_of(failed)})")
            except Problem:
                self._say("warning", f"gives no answer when asked to relay to {host}; not asked any further")
                break
            else:
                self._fail(f"relays to {host}, {who}: add it to `denied-peer-ip` (python -m turn config shows all)")
        if refused:
            self._say("ok", f"refuses to relay to {', '.join(refused)}")

    async def _come_without_right(self, url: IceUrl) -> None:
        answers = [await self._come(url, None)]
        if self._questions.configuration.secrets:
            answers.append(await self._come(url, self._credential(-LATE_S)))
        match answers:
            case ["let in", *_]:
                self._fail("lets everybody in without credentials: remove `no-auth`")
            case [_, "let in"]:
                self._say(
                    "warning", f"accepts credentials that ended {LATE_S} s ago: compare its clock with this machine's"
                )
            case [*_] if "silent" in answers:
                self._say("warning", "gives no answer to who has no credentials, or ended ones")
            case _:
                self._say("ok", "refuses who has no credentials, or ended ones")

    async def _come(self, url: IceUrl, credential: Credential | None) -> Literal["let in", "refused", "silent"]:
        async with AsyncExitStack() as stack:
            try:
                await self._enter(stack, url, credential)
            except stun.TransactionFailed:
                return "refused"
            except Problem:
                return "silent"
            return "let in"

    # ---- why not

    async def _explain(self, problem: Exception, url: IceUrl) -> str:
        text = words_of(problem, url, self._questions.limit_s)
        if code_of(problem) != UNAUTHORIZED:
            return text
        configuration = self._questions.configuration
        if not configuration.secrets:
            return f"{text}: it does not know TURN_USERNAME with TURN_PASSWORD, or it wants secrets (`use-auth-secret`)"
        for number, secret in enumerate(configuration.secrets[1:], start=2):
            if await self._come(url, self._credential(configuration.ttl_s, secret)) == "let in":
                return f"{text}: it knows number {number} of TURN_SECRETS, not number 1, which signs; give it that one first"
        if await self._come(url, self._credential(FAR_S)) == "let in":
            return f"{text}: to its clock they have ended already, so the clocks differ by more than TURN_TTL_S"
        return f"{text}: none of TURN_SECRETS is a secret of its (`use-auth-secret` with `static-auth-secret`)"

    # ---- how it is asked

    def _credential(self, ttl_s: int, secret: str = "") -> Credential:
        configuration = self._questions.configuration
        if not configuration.secrets:
            return Credential(configuration.username, configuration.password)
        end = Micros(self._questions.micros() + ttl_s * US_PER_S)
        return ephemeral(secret or configuration.secrets[0], SUBJECT, end)

    async def _enter(self, stack: AsyncExitStack, url: IceUrl, credential: Credential | None) -> Allocation:
        allocation = await self._within(allocate(url, credential, self._questions.tls))
        stack.push_async_callback(allocation.close)
        return allocation

    async def _within(self, answer: Awaitable[T]) -> T:
        # As a task of its own: exceptions thrown into a coroutine that waits are lost on Python 3.11's tracers, and so would
        # be the coverage of everything above it.
        (found,) = await asyncio.gather(_limited(answer, self._questions.limit_s), return_exceptions=True)
        if isinstance(found, BaseException):
            raise found
        return found

    def _fail(self, text: str) -> None:
        self._say("FAILED", text)


async def _limited(answer: Awaitable[T], limit_s: float) -> T:
    async with asyncio.timeout(limit_s):
        return await answer


async def _meet(first: Allocation, second: Allocation) -> None:
    await first.permit(second.relayed)
    await second.permit(first.relayed)
    await first.bind(second.relayed)
    await second.bind(first.relayed)


def _show(address: PeerAddress) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
