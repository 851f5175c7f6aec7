"""The end of a run in one process: wait for what is under way, ask what was missed, read the store's logs, weigh."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from loadtest.checker import check
from loadtest.client import decode_matches, decode_synced
from loadtest.crowd import Crowd
from loadtest.device import Device
from loadtest.findings import Report
from loadtest.jobs import Room
from loadtest.record import ClientLog, Submission
from protocol.from_client import ClientMessage, Matches, Receipt, Sync
from protocol.from_server import Entry, Error
from protocol.ids import Cursor, MatchId, Micros, Seq
from protocol.limits import MATCHES_PAGE_MAX

_AT_ONCE: Final = 32
_ANSWER_WITHIN_S: Final = 120.0
# Others are being weighed meanwhile, which takes this process.
_POLL_S: Final = 0.1
_QUIET_S: Final = 0.5


class NoAnswer(Exception):
    """A device was asked to read something at the end and could not."""


async def settle(crowd: Crowd, within_s: float) -> None:
    """Wait until everybody is back, every message has its answer and nothing more comes, or until time is over."""
    loop = asyncio.get_running_loop()
    until_s, quiet_since_s, seen = loop.time() + within_s, loop.time(), -1
    while loop.time() < until_s:
        for device in crowd.every:
            device.flush_receipts()
        now = crowd.scene.meters.counts.get("delivered", 0) + crowd.scene.meters.counts.get("acked", 0)
        is_busy = now != seen or any(_is_busy(device) for device in crowd.every)
        if is_busy:
            seen, quiet_since_s = now, loop.time()
        elif loop.time() - quiet_since_s >= _QUIET_S:
            return
        await asyncio.sleep(_POLL_S)


def _is_busy(device: Device) -> bool:
    return not device.is_ready or not device.caller.is_idle or not device.outgoing.is_done


async def weigh(crowd: Crowd) -> tuple[Report, list[str]]:
    """Weigh everything that the devices of `crowd` did and saw; return the report and notes on what could not be."""
    ready = [device for device in crowd.every if device.is_ready]
    notes: list[str] = []
    await _all(notes, [partial(_catch_up, device) for device in ready])
    report = Report(clients=len(crowd.every))
    for finding in crowd.audit_all():
        report.found("wrong_presence", finding)
    await _all(notes, [partial(_weigh_room, crowd, room, report) for room in crowd.job.rooms])
    crowd.scene.meters.count("left in calls", sum(not device.caller.is_idle for device in crowd.every))
    crowd.scene.meters.count("not pushed", sum(device.inbox.not_pushed for device in crowd.every))
    return report, notes


async def _catch_up(device: Device) -> None:
    """Ask for everything after the cursors: what comes now was never pushed. Tell once more what was read: a receipt may be
    lost with its connection."""
    for match, seq in device.user.read.items():
        await ask(device, Receipt(match, None, Seq(seq), 0))
    held = list(device.inbox.held.values())
    for each in held:
        each.is_asking = False
    device.inbox.ask_for(held)
    async with asyncio.timeout(_ANSWER_WITHIN_S):
        while any(each.is_asking for each in held):  # noqa: ASYNC110 - as in Crowd.connect
            await asyncio.sleep(_POLL_S / 4)


async def _weigh_room(crowd: Crowd, room: Room, whole: Report) -> None:
    """Read the log of a match and weigh what its people here have of it."""
    devices = [device for index in room.local for device in crowd.devices[index]]
    ready = [device for device in devices if device.is_ready]
    if not ready:
        raise NoAnswer(f"nobody of {room.match} was connected in the end")
    match = MatchId(room.match)
    stored = await _log(ready[0], match)
    logs = [log for device in devices for log in _client_logs(crowd, device, match, stored)]
    report = check(logs, {match: stored}, judges_logs=room.is_judged)
    await _check_unread(crowd, room, stored, report)
    report.clients = 0
    whole.add(report)


async def _log(device: Device, match: MatchId) -> list[Entry]:
    """Read the whole log of a match. Not by `history`, which folds what belongs together."""
    entries: list[Entry] = []
    complete = False
    while not complete:
        cursor: Cursor = (entries[-1].seq, entries[-1].created_at) if entries else (Seq(0), Micros(0))
        page = decode_synced(await ask(device, Sync(0, {match: cursor}))).matches[match]
        entries += page.entries
        complete = page.complete
    return entries


def _client_logs(crowd: Crowd, device: Device, match: MatchId, stored: Sequence[Entry]) -> Iterator[ClientLog]:
    """Make the full record of one device in one match; before it, what it showed until it was told to begin anew."""
    held, book = device.inbox.held[match], device.outgoing.book

    def submission(number: int) -> Submission:
        return book.submission(number, match, device.outgoing.client_id(number), crowd.scene.texts)

    log = ClientLog(device.user.name, device.name)
    log.connections = device.connects
    numbers = [number for number, where in enumerate(book.match) if where == held.index]
    for each in map(submission, numbers):
        log.submitted[match, each.client_id] = each
    log.shown[match] = held.shown(stored, submission, device.user.name)
    for number, shown in enumerate(held.shown_before(stored, submission, device.user.name), 1):
        # It ended there, which is not to be held against it.
        yield ClientLog(device.user.name, f"{device.name} before reset {number}", {}, {match: shown}, {match: True})
    yield log


async def _check_unread(crowd: Crowd, room: Room, stored: Sequence[Entry], report: Report) -> None:
    """Compare what the server says is unread with what its user was shown to have read."""
    match = MatchId(room.match)
    for index in room.local[:50]:
        device = next((each for each in crowd.devices[index] if each.is_ready), None)
        if device is None:
            continue
        page = decode_matches(await ask(device, Matches(0, None, MATCHES_PAGE_MAX)))
        summary = next((each for each in page.matches if each.match == match), None)
        if summary is None:
            continue
        read = max((each.read for each in summary.members if each.user == device.user.name), default=0)
        unread = sum(getattr(entry, "n", None) is not None and entry.seq > read for entry in stored)
        told = device.user.read.get(match, 0)
        if summary.unread != unread:
            report.found("wrong_unread", f"{match}: {summary.unread} for {device.user.name}, not {unread}")
        elif told and read < told:
            report.found("wrong_unread", f"{match}: read up to {read} for {device.user.name}, who told {told}")


async def ask(device: Device, request: ClientMessage) -> bytes:
    """Ask something on a device's connection; raise `NoAnswer`."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(payload: bytes) -> None:
        if not answer.done():
            answer.set_result(payload)

    def refused(error: Error | None) -> None:
        if not answer.done():
            answer.set_exception(NoAnswer("the connection was lost" if error is None else str(error.code)))

    device.ask(request, answered, refused)
    async with asyncio.timeout(_ANSWER_WITHIN_S):
        return await answer


async def _all(notes: list[str], calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Make all calls, some at a time; what could not be done is noted."""
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            try:
                await call()
            except (NoAnswer, TimeoutError, msgspec.DecodeError) as problem:
                notes.append(f"not weighed: {problem}" if str(problem) else "not weighed: no answer in time")

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
