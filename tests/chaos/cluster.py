"""Nodes over one private PostgreSQL (durable, as in production) and one private Redis; each can be hurt and healed."""

import asyncio
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Final

import asyncpg
import psutil
import redis

from loadtest.api import Api
from tests.chaos.callers import SETTINGS as CALLS
from tests.chaos.node import NODE, set_clock
from tests.proof.node import API_KEY, TOKEN_SECRET, UNLIMITED
from tests.support.numbers import read_gauges, read_numbers
from tests.support.private_pgbouncer import private_pgbouncer
from tests.support.private_postgres import SETTINGS, PrivatePostgres, private_postgres, run_program, running_cluster
from tests.support.private_redis import SERVICE, PrivateRedis, private_redis, sentinel_trio
from tests.support.private_server import inherited
from tests.support.programs import Program, ProgramError, free_port, running

# Its own default refuses everybody for 15 s after PostgreSQL was away once.
PGBOUNCER: Final = "server_login_retry = 1"
_MOVABLE_CLOCK: Final = """
CREATE SEQUENCE public.clock_offset_us MINVALUE -9000000000000000 START 0;
CREATE OR REPLACE FUNCTION duologue.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + (SELECT last_value FROM public.clock_offset_us)'
"""
# Not in a transaction, and seen by those that are under way: as a clock is.
_SET_CLOCK: Final = "SELECT setval('public.clock_offset_us', {})"
# Those that have just ended are no matter.
_LIMIT_FILES: Final = 'size=$1; shift; for pid; do prlimit --pid "$pid" --fsize="$size" 2>/dev/null || true; done'
START_ATTEMPTS: Final = 20
START_PAUSE_S: Final = 0.5


class Node:
    """One node; the port stays over its lives."""

    def __init__(self, name: str, argv: tuple[str, ...], settings: dict[str, str], clock: Path) -> None:
        self.name = name
        self._clock = clock
        set_clock(clock, 0)
        self.port = free_port()
        self._argv = argv
        self._settings = settings
        self._stack = ExitStack()
        self._program: Program | None = None
        self.printed: list[str] = []
        # From a kill on, until it is started again.
        self.is_killed = False

    async def start(self) -> None:
        """Start it; while it cannot (its store is away, too) try again, as whatever supervises it does."""
        for attempt in range(START_ATTEMPTS):
            try:
                await asyncio.to_thread(self._start)
            except ProgramError as error:
                self.printed.append(f"did not start: {error}")
                if attempt == START_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(START_PAUSE_S)
            else:
                return

    async def kill(self) -> None:
        """Kill -9."""
        if self._program is not None:
            self.is_killed = True
            await asyncio.to_thread(self._program.kill)
            await self.stop()

    async def stop(self) -> None:
        """End it in order, if it is still there, and keep what it printed."""
        if self._program is not None:
            program, self._program = self._program, None
            await asyncio.to_thread(self._stack.close)
            self.printed.append(program.output())

    def freeze(self) -> None:
        """Let it do nothing, and let nobody know."""
        if self._program is not None:
            self._program.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        if self._program is not None:
            self._program.process.send_signal(signal.SIGCONT)

    def jump(self, offset_s: float) -> None:
        """Let its clock be off by so much."""
        set_clock(self._clock, offset_s)

    @property
    def log(self) -> str:
        """Everything that it printed in all its lives."""
        return "\n".join([*self.printed, *([self._program.output()] if self._program else [])])

    def api(self) -> Api:
        """Return a backend that talks to it."""
        return Api(f"http://127.0.0.1:{self.port}", API_KEY)

    async def numbers(self) -> tuple[dict[str, float], dict[str, float]]:
        """Read all its numbers, and of them the gauges that are zero when nobody is there."""
        api = self.api()
        text = (await api.call("GET", "/metrics")).body.decode()
        api.close()
        return read_numbers(text), read_gauges(text)

    def _start(self) -> None:
        environment = {
            **inherited(),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "API_KEYS": API_KEY,
            "TOKEN_SECRETS": TOKEN_SECRET,
            "NODE_NAME": self.name,
            **UNLIMITED,
            **CALLS,
            **self._settings,
        }
        self._stack = ExitStack()
        self.is_killed = False
        node = running((sys.executable, *self._argv), ready=f":{self.port}", environment=environment)
        self._program = self._stack.enter_context(node)


class Cluster:
    """What is under test, and everything that it stands on."""

    def __init__(self, stack: ExitStack, nodes: int, without: str, *, is_pooled: bool, has_sentinels: bool) -> None:
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="duologue-chaos-")))
        self.postgres: PrivatePostgres = stack.enter_context(private_postgres(is_durable=True))
        self._trio = stack.enter_context(sentinel_trio(self.folder)) if has_sentinels else None
        self.redis = self._trio.master if self._trio else stack.enter_context(private_redis(self.folder))
        port = stack.enter_context(private_pgbouncer(self.postgres, PGBOUNCER)) if is_pooled else None
        redis_url = self._trio.url if self._trio else self.redis.url
        settings = {"DATABASE_URL": self.postgres.url(port=port), "REDIS_URL": redis_url}
        self.nodes = [self._node(f"node{number}", settings, without) for number in range(1, nodes + 1)]

    def _node(self, name: str, settings: dict[str, str], without: str) -> Node:
        clock = self.folder / f"{name}.clock"
        return Node(name, (*NODE, str(clock), *([without] if without else [])), settings, clock)

    @property
    def spared(self) -> Node:
        """The node that is neither killed nor frozen: those who stay connected to it see what nobody repairs."""
        return self.nodes[0]

    @property
    def victims(self) -> list[Node]:
        """The other nodes."""
        return self.nodes[1:]

    async def start(self) -> None:
        """Start every node, the first alone: it makes the tables."""
        for node in self.nodes:
            await node.start()
        await self.postgres.run(_MOVABLE_CLOCK, _SET_CLOCK.format(0))

    async def stop(self) -> None:
        """End every node in order."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def restart_postgres(self, how: signal.Signals, away_s: float) -> None:
        """End PostgreSQL, in order (SIGINT) or as in a crash (SIGQUIT), and start it again on its data."""
        await asyncio.to_thread(self.postgres.program.stop, how)
        await asyncio.sleep(away_s)
        await self._start_postgres()

    async def fill_disk(self, full_s: float) -> bool:
        """Let PostgreSQL write nothing for a while, as on a full disk; return whether it gave up."""
        await asyncio.to_thread(self._limit_files, "0:")
        await asyncio.sleep(full_s)
        await asyncio.to_thread(self._limit_files, "unlimited:")
        try:
            await (await self.postgres.admin()).close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # It could not even recover, or is about to find out.
            await asyncio.to_thread(self.postgres.program.stop, signal.SIGQUIT)
            await self._start_postgres()
            return True
        return False

    def _limit_files(self, size: str) -> None:
        """Let no file of its processes grow beyond `size`; asked for by its own account, which may."""
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.postgres.program.pid)
            pids = [str(process.pid) for process in (server, *server.children(recursive=True))]
            run_program("sh", "-c", _LIMIT_FILES, "sh", size, *pids)

    async def jump_database(self, offset_s: float) -> None:
        """Let the database's clock be off by so much, as far as anything of ours reads it."""
        await self.postgres.run(_SET_CLOCK.format(round(offset_s * 1_000_000)))

    async def _start_postgres(self) -> None:
        again: Callable[[], AbstractContextManager[PrivatePostgres]] = lambda: running_cluster(  # noqa: E731
            self.postgres.folder, SETTINGS, self.postgres.port
        )
        self.postgres.program = (await asyncio.to_thread(self._stack.enter_context, again())).program

    async def directory(self) -> int:
        """Count the users who are listed as connected somewhere."""
        return len(await asyncio.to_thread(_listed_users, self.master()))

    def master(self) -> PrivateRedis:
        """Return the server that is the master now, by the word of a Sentinel."""
        return self.redis if self._trio is None else self._trio.master_now()

    def fail_over(self) -> None:
        """Have the Sentinels make the replica the master."""
        assert self._trio is not None
        with redis.Redis(port=self._trio.ports[0]) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)

    def troubles(self) -> Counter[str]:
        """Count what the nodes' logs say of the bus, by its first words."""
        found: Counter[str] = Counter()
        for node in self.nodes:
            for reason in re.findall(r"event=bus\.trouble reason=(\"[^\"]*\"|\S+)", node.log):
                found[re.sub(r"\d[\d.]*", "N", reason.strip('"')).split(":")[0]] += 1
            found["repair"] += node.log.count("event=bus.repair")
        return found

    @property
    def tracebacks(self) -> int:
        """How many faults of its own the server logged."""
        return sum(node.log.count("Traceback") for node in self.nodes)


def _listed_users(server: PrivateRedis) -> list[bytes]:
    with server.client() as client:
        return list(client.scan_iter(match="duologue:c:*", count=1000))
