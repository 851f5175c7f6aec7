"""What the kernel says of processes: who listens on a port, what CPU and memory they use, on which core they run. Linux.

Elsewhere, and for processes of other users, nothing is seen and nothing is told.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
# Sets the core, then becomes the program: the process id stays.
_PINNED: Final = "import os,sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


class Usage(Struct, frozen=True):
    """What processes used since they began, and hold now."""

    cpu_us: float
    rss_bytes: int


def usage(pids: Iterable[int]) -> Usage | None:
    """Return the sum over these processes, None when one of them cannot be seen."""
    try:
        found = [(cpu_us(pid), rss_bytes(pid)) for pid in pids]
    except (OSError, IndexError, ValueError):
        return None
    return Usage(sum(cpu for cpu, _ in found), sum(rss for _, rss in found)) if found else None


def cpu_us(pid: int) -> float:
    """Return the CPU time used so far by all threads, from the scheduler's own nanoseconds."""
    tasks = (_PROC / str(pid) / "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def rss_bytes(pid: int) -> int:
    """Return the resident memory."""
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def busy_us() -> float:
    """Return the CPU time that all programs and the kernel have used on all cores."""
    fields = (_PROC / "stat").read_text().split("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) * 1e6 / os.sysconf("SC_CLK_TCK")


def listeners(port: int) -> list[int]:
    """Return the processes that listen on a TCP port of this machine, as far as they can be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return []
    return sorted(pid for pid in _pids() if sockets & _open_files(pid))


def pinned(argv: Sequence[str], core: int) -> list[str]:
    """Return what runs `argv` on one core; `argv` itself where there is only one."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        return list(argv)
    return [sys.executable, "-c", _PINNED, str(core), *argv]


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = (_PROC / "net" / table).read_text().split("\n")[1:]
        except OSError:
            continue
        for fields in (row.split() for row in rows if row):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    except OSError:
        return []


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for entry in (_PROC / str(pid) / "fd").iterdir():
            found.add(str(entry.readlink()))
    except OSError:  # it has gone, or is somebody else's
        return found
    return found
