"""One run: makes the world, hands everybody their part, keeps the time, watches the server, and gathers what was found."""

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from loadtest.board import Board
from loadtest.capacity import search
from loadtest.clock import fresh_name, monotonic_us, utc_text, wall_s
from loadtest.findings import Report
from loadtest.jobs import Begin, Connected, Deal, Finish, Job, Pace, Sample, ToAgent, Weighed
from loadtest.judging import judge_budgets, judge_faults, why_invalid
from loadtest.learn import read_log
from loadtest.machine import this_machine
from loadtest.processes import usage
from loadtest.profile import load_profile
from loadtest.result import FORMAT, Mark, Result
from loadtest.scenario import Event, Scenario
from loadtest.team import Member, team
from loadtest.world import Access, Part, make_world
from protocol.calls import IceServer

_S: Final = 1_000_000
_BEGIN_AFTER_US: Final = 500_000
_WEIGH_WITHIN_S: Final = 3600.0
# Millions of entries take minutes.


class NobodyCame(Exception):
    """No device was welcomed, so there is nothing to measure; its text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `tell` gets lines for whoever watches; `second` is called with the board after each second."""

    name: str
    scenario: Scenario
    access: Access
    users: int
    duration_s: float
    rate_per_s: float
    budgets: dict[str, float]
    command: str
    processes: int = 1
    agents: Sequence[str] = ()
    agent_token: str = ""
    find_pids: Callable[[], list[int]] = list
    # The server's processes, as far as they can be seen; asked every second.
    seed: int = 1
    log: str = ""
    restart: str = ""
    relays: tuple[IceServer, ...] = ()
    # For calls with media, instead of those that the server hands out.
    tell: Callable[[str], None] = print
    second: Callable[[Board, int], None] = lambda _board, _at_s: None


@dataclass(slots=True)
class Run:
    """A run under way."""

    plan: Plan
    members: list[Member]
    board: Board
    result: Result
    connected: dict[int, Connected] = field(default_factory=dict)
    weighed: dict[int, Weighed] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell_all(self, message: ToAgent) -> None:
        """Tell all processes."""
        for member in self.members:
            member.link.tell(message)

    async def listen(self, member: Member) -> None:
        """Take in what a process says until it has weighed."""
        while member.number not in self.weighed:
            match await member.hear():
                case Sample() as sample:
                    self.board.sample(member.number, sample)
                case Connected() as connected:
                    self.connected[member.number] = connected
                case Weighed() as weighed:
                    self.weighed[member.number] = weighed
                case _:
                    continue
            self.news.set()

    async def until(self, holds: Callable[[], bool], within_s: float) -> None:
        """Wait until `holds()`; raise `TimeoutError`."""
        async with asyncio.timeout(within_s):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def now_s(self) -> float:
        """Return the second of the load, with its fraction."""
        return (monotonic_us() - self.board.begin_us) / _S

    def mark(self, what: str) -> None:
        """Draw a line into every plot."""
        self.result.marks.append(Mark(round(self.now_s(), 3), what))
        self.plan.tell(f"  {self.now_s():5.1f} s  {what}")


async def conduct(plan: Plan) -> Result:
    """Run `plan`; raise `OSError`, `ApiError`, `LinkRefused`, `AgentLost`, `NobodyCame` or `TimeoutError` when it cannot be run."""
    scenario, run_name = plan.scenario, fresh_name()
    result = _blank(plan, run_name)
    async with AsyncExitStack() as stack:
        members = await stack.enter_async_context(team(plan.processes, plan.agents, plan.agent_token))
        result.agents = len(members)
        lines = read_log(plan.log) if plan.log else []
        plan.tell(f"making {plan.users:,} users and their matches")
        parts = await make_world(plan.access, scenario, run_name, users=plan.users, parts=len(members), lines=lines)
        run = Run(plan, members, Board(len(members)), result)
        for member, job in zip(members, _jobs(plan, run_name, parts), strict=True):
            member.link.tell(job)
        result.devices = sum(person.devices for part in parts for person in part.people)
        # Hangs up at the end: before the agents are waited for, after everything was heard.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for member in members:
            group.create_task(run.listen(member))
        await _play(run)
    _conclude(run)
    return result


async def _play(run: Run) -> None:
    plan, board = run.plan, run.board
    expected_s = run.result.devices / plan.scenario.people.connects_per_s
    plan.tell(f"connecting {run.result.devices:,} devices, {plan.scenario.people.connects_per_s:g} a second")
    await run.until(lambda: len(run.connected) == len(run.members), expected_s + 120)
    _tell_troubles(run)
    board.begin(monotonic_us() + _BEGIN_AFTER_US)
    for member in run.members:
        member.link.tell(Begin(board.begin_us, member.offset_us))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(run))
        happening = [group.create_task(_happen(run, event)) for event in plan.scenario.events]
        if plan.scenario.ceiling is None:
            await asyncio.sleep(plan.duration_s - run.now_s())
        else:
            run.result.steps, run.result.knee = await search(
                plan.scenario.ceiling, plan.budgets, board, lambda rate: run.tell_all(Pace(rate)), plan.tell
            )
            run.result.duration_s = run.now_s()
        for task in happening:
            task.cancel()
        run.tell_all(Finish())
        plan.tell("weighing: what was sent, seen and stored")
        await run.until(lambda: len(run.weighed) == len(run.members), _WEIGH_WITHIN_S)
        watching.cancel()


def _tell_troubles(run: Run) -> None:
    for connected in run.connected.values():
        for trouble, count in connected.troubles.items():
            run.plan.tell(f"! {count} devices could not connect: {trouble}")
            run.result.notes.append(f"{count} devices could not connect: {trouble}")
    if not any(connected.devices for connected in run.connected.values()):
        raise NobodyCame(f"nobody could connect to {run.plan.access.ws_url}: is that where clients connect?")


async def _watch(run: Run) -> None:
    """Look at the server, and report, once a second."""
    pids = run.plan.find_pids()
    while True:
        used = usage(pids)
        if used is None:
            pids = run.plan.find_pids()
        run.board.server(monotonic_us(), used)
        at_s = int(run.now_s()) - 2
        if at_s >= 0:
            run.plan.second(run.board, at_s)
        await asyncio.sleep(1 - run.now_s() % 1)


async def _happen(run: Run, event: Event) -> None:
    """Have an event happen when it is due, again and again when it says so."""
    due_s = event.at_s
    while due_s < run.plan.duration_s:
        await asyncio.sleep(max(0.0, due_s - run.now_s()))
        run.mark(event.name or event.what)
        if event.what in {"cut", "leave"}:
            run.tell_all(Deal(event.what, event.share))
        elif event.what == "restart":
            await _restart(run)
        if event.every_s is None:
            return
        due_s += event.every_s


async def _restart(run: Run) -> None:
    """Run the command of the one who started this; they may do anything with their own server."""
    if not run.plan.restart:
        run.result.notes.append("nothing was restarted: no --restart was given")
        return
    process = await asyncio.create_subprocess_shell(run.plan.restart, stdout=subprocess.DEVNULL)
    if await process.wait():
        run.result.notes.append(f"the command of --restart ended with {process.returncode}")


def _conclude(run: Run) -> None:
    """Put together what all processes found."""
    result, plan = run.result, run.plan
    report = Report()
    for weighed in run.weighed.values():
        run.board.add(int(result.duration_s), weighed.meters)
        report.add(weighed.report)
        result.notes += weighed.notes
    # A process may not see who else was in a match; each is in one log that somebody judged.
    result.report = report
    result.seconds = run.board.seconds()
    result.counts = dict(run.board.whole.counts)
    result.times = run.board.between(result.warm_up_s, float("inf")).times
    if "connect" in run.board.whole.times:  # most of it was before the load began
        result.times["connect"] = run.board.whole.times["connect"]
    missing = result.devices - sum(weighed.connected for weighed in run.weighed.values())
    judge_faults(result, report, report.unanswered, missing)
    result.budgets = [] if plan.scenario.ceiling else judge_budgets(result, plan.budgets)
    result.invalid = why_invalid(result)
    if result.notes and any(note.startswith("not weighed") for note in result.notes):
        result.invalid.append("not everything could be weighed: see the notes")
    uncertain_us = max(member.uncertain_us for member in run.members)
    if uncertain_us:
        result.notes.append(f"clocks of the machines agree within {uncertain_us / 1000:.2f} ms")


def _jobs(plan: Plan, run_name: str, parts: Sequence[Part]) -> list[Job]:
    profile = load_profile(plan.scenario.chat.profile)
    return [
        Job(
            run_name,
            plan.access.ws_url,
            number,
            plan.seed,
            len(part.people) / plan.users,
            plan.rate_per_s,
            plan.scenario,
            profile,
            part.people,
            part.rooms,
            plan.log,
            part.nicks,
            plan.access.authority,
            plan.relays,
        )
        for number, part in enumerate(parts)
    ]


def _blank(plan: Plan, run_name: str) -> Result:
    return Result(
        FORMAT,
        plan.name,
        run_name,
        utc_text(wall_s()),
        plan.command,
        plan.access.ws_url,
        plan.users,
        plan.users,
        1,
        plan.duration_s,
        min(plan.scenario.warm_up_s, plan.duration_s / 2),
        plan.rate_per_s,
        plan.seed,
        plan.scenario,
        this_machine(),
    )
