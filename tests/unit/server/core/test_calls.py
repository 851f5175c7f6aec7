"""What the log says of a call: only a missed one counts."""

import pytest

from protocol.calls import CallId, CallOutcome, CallReason
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId
from server.core.calls import CallChange, CallNote, entry_of_note, note_body, row_changed


def note(state: CallOutcome) -> CallNote:
    return CallNote(CallId("c"), state, UserId("alice"), "audio", Micros(3), (UserId("alice"),), CallReason.NO_ANSWER)


def change(state: CallOutcome | None) -> CallChange:
    return CallChange(
        change="x",
        call=CallId("c"),
        match=MatchId("m"),
        version=6,
        value=b"{}",
        caller=UserId("alice"),
        started_at=Micros(3),
        ended_at=None,
        deadline_at=None,
        users=(),
        seated=(),
        nodes=(),
        note=None if state is None else note(state),
    )


@pytest.mark.parametrize("state", CallOutcome)
def test_an_entry_is_read_as_it_was_written_and_has_n_only_if_missed(state: CallOutcome) -> None:
    entry = entry_of_note(MatchId("m"), Seq(9), Micros(8), Ordinal(7), note_body(note(state)))
    assert (entry.seq, entry.created_at, entry.state, entry.reason) == (9, 8, state, CallReason.NO_ANSWER)
    assert entry.n == (7 if state is CallOutcome.MISSED else None)
    assert change(state).is_missed == (state is CallOutcome.MISSED)


def test_a_change_counts_one_up() -> None:
    assert row_changed(change(None)).version == 7
    assert not change(None).is_missed
