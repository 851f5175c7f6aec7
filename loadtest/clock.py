"""Time and chance of the load tester enter here, as those of the server enter in its own `clock`.

Everything that is measured uses one monotonic clock in integer microseconds. On one machine all processes share it; a
process on another machine adds the offset that its coordinator measured (`loadtest.link`).
"""

import gc
import random
import resource
import secrets
import time

Chance = random.Random
# Repeatable: the same seed is the same load.


def monotonic_us() -> int:
    """Return the machine's monotonic clock."""
    return time.monotonic_ns() // 1000


def wall_s() -> float:
    """Return the time of day in Unix seconds, to say when something was measured and until when a token holds."""
    return time.time()


def utc_text(at_s: float) -> str:
    """Return a time of day for readers and for names of files."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def cpu_us() -> int:
    """Return the CPU time that this process has used, in all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int((used.ru_utime + used.ru_stime) * 1e6)


def fresh_name() -> str:
    """Return a short name that no other run has."""
    return secrets.token_hex(4)


def fresh_secret() -> str:
    """Return what nobody guesses."""
    return secrets.token_hex(32)


def hold_garbage_collector() -> None:
    """Keep what is there now out of collections and make them rare: a pause of ours would be taken for the server's."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
