"""The connection for commands: one pipeline at a time, under one time limit, never repeated.

A pipeline that fails halfway leaves open what was done of it; who calls numbers what must not be done twice.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from server.adapters.redis.endpoint import CONNECT_TIMEOUT_S, Address, RedisEndpoint
from server.adapters.redis.scripts import SCRIPTS, SETTLE, Script
from server.adapters.redis.wire import Argument, Command, pack_command
from server.ports import BusUnusable

OLDEST: Final = (6, 2)
# What a server says of itself, not of the command: the same command may work on another connection or later.
STATES: Final = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
)

# As RESP2 has them: bytes, int, list, None; an error reply is a `ResponseError`.
Reply = object


class RedisAway(Exception):
    """Redis does not answer, or not as a working master; the text says why."""


class ServerFacts(Struct, frozen=True):
    """What INFO tells."""

    version: tuple[int, ...]
    run_id: str
    is_cluster: bool
    is_master: bool
    evicts: bool


class RedisLink:
    """An open connection; `open` has checked that its server can do the work."""

    def __init__(self, connection: AbstractConnection, address: Address, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self.address: Final = address
        self.facts = ServerFacts((0,), "", is_cluster=False, is_master=True, evicts=False)

    @classmethod
    async def open(cls, endpoint: RedisEndpoint, prefix: str, timeout_s: float) -> "RedisLink":
        """Connect; raise `RedisAway` when that may work later, `BusUnusable` when this server will never do."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                address = await endpoint.locate()
                connection = await endpoint.connect(address)
        except (RedisError, OSError) as problem:
            said = f"Redis at {endpoint.shown}: {_said(problem, CONNECT_TIMEOUT_S)}"
            raise (BusUnusable if _is_final(problem) else RedisAway)(said) from None
        link = cls(connection, address, timeout_s)
        try:
            await link._check(endpoint.shown, prefix)
        except BaseException:
            await link.close()
            raise
        return link

    async def call(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all at once and return their replies, errors among them; raise `RedisAway` and close when some are missing.

        A script that Redis does not have is loaded and called once more: it has not run.
        """
        replies = await self._ask(commands)
        state = next((reply for reply in replies if isinstance(reply, ResponseError) and _code(reply) in STATES), None)
        if state is not None:
            await self.close()
            raise RedisAway(_said(state, self._timeout_s))
        return replies

    async def close(self) -> None:
        """Give up the connection without waiting."""
        await self._connection.disconnect(nowait=True)

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._exchange(commands)
                missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
                if missing:
                    again = [_load(script) for script in SCRIPTS] + [commands[place] for place in missing]
                    answers = await self._exchange(again)
                    for place, answer in zip(missing, answers[len(SCRIPTS) :], strict=True):
                        replies[place] = answer
        except (RedisError, OSError) as problem:
            await self.close()
            # redis-py counts a missing password among the failures of a connection.
            error = BusUnusable if isinstance(problem, AuthenticationError) else RedisAway
            raise error(_said(problem, self._timeout_s)) from None
        return replies

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self._connection
        packed = b"".join([pack_command(command) for command in commands])
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Reply] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    async def _check(self, shown: str, prefix: str) -> None:
        (info,) = await self._ask([("INFO",)])
        if not isinstance(info, bytes):
            raise _refused(info, f"Redis at {shown} does not tell about itself (INFO)")
        self.facts = facts = _facts(info.decode("utf-8", "replace"))
        if facts.is_cluster:
            raise BusUnusable(f"Redis at {shown} is a cluster; the bus needs one server, or Sentinel with one master")
        if facts.version < OLDEST:
            found, wanted = (".".join(map(str, version)) for version in (facts.version, OLDEST))
            raise BusUnusable(f"Redis at {shown} is version {found}; the bus needs {wanted} or newer")
        if not facts.is_master:
            raise RedisAway(f"Redis at {shown} is a replica, not the master")
        loads = [_load(script) for script in SCRIPTS]
        for reply in await self._ask([*loads, script_call(SETTLE, prefix, "", 0)]):
            if isinstance(reply, ResponseError):
                raise _refused(reply, f"Redis at {shown} does not run Lua (SCRIPT LOAD and EVALSHA)")


def script_call(script: Script, *arguments: Argument) -> Command:
    """Return the command that calls `script`."""
    return ("EVALSHA", script.digest, 0, *arguments)


def _load(script: Script) -> Command:
    return ("SCRIPT", "LOAD", script.text)


def _code(problem: BaseException) -> str:
    return str(getattr(problem, "status_code", None) or "")


def _said(problem: BaseException, limit_s: float) -> str:
    text = str(problem) or f"no answer within {limit_s:g} s"
    return f"{_code(problem)} {text}" if _code(problem) not in {"", "ERR"} else text


def _is_final(problem: BaseException) -> bool:
    """Tell a refusal of what we are from a server that is not there now."""
    refusal = problem.__cause__ if isinstance(problem.__cause__, RedisError) else problem
    return isinstance(refusal, (AuthenticationError, ResponseError)) and (
        _code(refusal) not in STATES or _code(refusal) in {"NOAUTH", "NOPERM"}
    )


def _refused(reply: Reply, what: str) -> Exception:
    problem = reply if isinstance(reply, ResponseError) else ResponseError(repr(reply))
    said = f"{what}: {_said(problem, 0)}"
    return BusUnusable(said) if _is_final(problem) else RedisAway(said)


def _facts(info: str) -> ServerFacts:
    told = dict(line.partition(":")[::2] for line in info.splitlines() if ":" in line)
    return ServerFacts(
        version=tuple(int(part) for part in told.get("redis_version", "0").split(".") if part.isdecimal()),
        run_id=told.get("run_id", ""),
        is_cluster=told.get("cluster_enabled") == "1" or told.get("redis_mode") == "cluster",
        is_master=told.get("role", "master") == "master",
        evicts=told.get("maxmemory_policy", "noeviction") != "noeviction",
    )
