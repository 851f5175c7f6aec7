"""How many summaries fit one answer: whatever the last messages hold, no page of matches may outgrow an outbox."""

from itertools import groupby
from typing import Final

import msgspec

from protocol.from_server import MatchSummary
from server.core.log import SummaryPage

_encode: Final = msgspec.json.Encoder().encode

SUMMARIES_MAX_BYTES: Final = 512 * 1024
# Half of an outbox's usual bound. A hundred matches of two with ordinary last messages have 50 KB.


def cut_summaries(page: SummaryPage, budget_bytes: int) -> SummaryPage:
    """Return of `page`, from the newest on, what fits `budget_bytes`; the rest can be asked for by `before`.

    Matches of the same microsecond stay together, as `before` could not name a place between them; should the first of
    these groups be too large, what does not fit of it comes without its last entry.
    """
    kept: list[MatchSummary] = []
    for _, group in groupby(page.matches, key=lambda summary: summary.last_at):
        together = tuple(group)
        cost = sum(map(_size_bytes, together))
        if cost > budget_bytes:
            if kept:
                return SummaryPage(tuple(kept), complete=False)
            together = _without_last(together, budget_bytes)
        budget_bytes -= cost
        kept += together
    return page if budget_bytes >= 0 else SummaryPage(tuple(kept), page.complete)


def _without_last(group: tuple[MatchSummary, ...], budget_bytes: int) -> tuple[MatchSummary, ...]:
    lean = []
    for summary in group:
        budget_bytes -= _size_bytes(summary)
        lean.append(summary if budget_bytes >= 0 else msgspec.structs.replace(summary, last=None))
    return tuple(lean)


def _size_bytes(summary: MatchSummary) -> int:
    return len(_encode(summary))
