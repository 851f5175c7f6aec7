"""Who has failed to authenticate too often, and must wait: by client address and by subject. Pure.

Looking costs one dictionary miss, which is what every good connect pays. An address that is blocked is refused before its
token is looked at. A subject is counted only by tokens whose signature was right, and its block refuses the tokens that
were issued before its last failure: a newer one proves that the issuer has vouched for the user since, so that old
devices of somebody who signed out everywhere cannot lock out the new sign-in.
"""

from typing import Final

from msgspec import Struct

from server.core.limiting import Count, Decision, FixedWindow, decide

KEYS_MAX: Final = 100_000
# Of each kind; the one that failed longest ago is forgotten.
US_PER_S: Final = 1_000_000


class _Block(Struct, gc=False):
    until_us: int
    failed_us: int


class FailureBook:
    """Windows of failures, and the blocks that follow from them here or (by `block`) from what other nodes counted."""

    __slots__ = ("_blocks", "_counts", "_keys_max", "rule")

    def __init__(self, rule: FixedWindow, keys_max: int = KEYS_MAX) -> None:
        self.rule = rule
        self._keys_max = keys_max
        self._counts: dict[str, Count] = {}
        self._blocks: dict[str, _Block] = {}

    def __len__(self) -> int:
        return len(self._counts) + len(self._blocks)

    def failed(self, key: str, now_us: int) -> None:
        """Count one failure; the last one that is allowed blocks."""
        count, decision = decide(self.rule, self._counts.pop(key, None), now_us)
        self._counts[key] = count
        if len(self._counts) > self._keys_max:
            del self._counts[next(iter(self._counts))]
        self.heed(key, decision, now_us)

    def heed(self, key: str, decision: Decision, now_us: int) -> None:
        """Block when `decision`, ours or the cluster's, leaves nothing."""
        if decision.remaining:
            return
        self._blocks.pop(key, None)
        until_us = now_us + (decision.retry_after_ms * 1000 or decision.reset_s * US_PER_S)
        self._blocks[key] = _Block(until_us, now_us)
        if len(self._blocks) > self._keys_max:
            del self._blocks[next(iter(self._blocks))]

    def address_waits_ms(self, key: str, now_us: int) -> int:
        """Say for how long an address must wait; 0 when it may try."""
        if key not in self._blocks:
            return 0
        return self._waits_ms(key, now_us)

    def subject_waits_ms(self, key: str, issued_at: float | None, now_us: int) -> int:
        """Say for how long the subject must wait with a token issued then; 0 when it may be used."""
        block = self._blocks.get(key)
        if block is None or (issued_at is not None and issued_at * US_PER_S > block.failed_us):
            return 0
        return self._waits_ms(key, now_us)

    def _waits_ms(self, key: str, now_us: int) -> int:
        block = self._blocks[key]
        # A clock that stepped back must not make anybody wait for longer than the window.
        left_ms = min(-(-(block.until_us - now_us) // 1000), self.rule.window_ms)
        if left_ms > 0:
            return left_ms
        del self._blocks[key]
        self._counts.pop(key, None)
        return 0
