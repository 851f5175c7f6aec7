"""`python -m tests.chaos.node CLOCK [DEFENCE]`: a node whose wall clock is off by what the file CLOCK says, in microseconds.

With DEFENCE it lacks that one. Nothing of this is in the server: parts are replaced in this process.
"""

import mmap
import sys
from pathlib import Path
from typing import Final

from protocol.ids import Micros
from server import __main__ as server
from server.adapters.clock import SystemClock
from tests.chaos.crippled import cripple_node

NODE: Final = ("-m", "tests.chaos.node")
_BYTES: Final = 8


def set_clock(file: Path, offset_s: float) -> None:
    """Let the clock of a node that runs with `file` be off by so much from now on."""
    offset = round(offset_s * 1_000_000).to_bytes(_BYTES, "little", signed=True)
    # In place: the node has these very bytes in its memory.
    with file.open("r+b" if file.exists() else "wb") as written:
        written.write(offset)


def _follow(file: Path) -> None:
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), _BYTES, access=mmap.ACCESS_READ)
    real = SystemClock.micros

    def micros(clock: SystemClock) -> Micros:
        return Micros(real(clock) + int.from_bytes(offset[:_BYTES], "little", signed=True))

    setattr(SystemClock, "micros", micros)  # noqa: B010 - mypy lets nobody assign a method


if __name__ == "__main__":
    _follow(Path(sys.argv.pop(1)))
    if len(sys.argv) > 1:
        cripple_node(sys.argv.pop(1))
    sys.exit(server.main())
