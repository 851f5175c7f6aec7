"""The checker finds every kind of planted fault, counts it under its own name, and says nothing of a good run."""

from dataclasses import replace

import msgspec
import pytest
from msgspec import Raw

from loadtest.checker import StoredLogs, check
from loadtest.findings import Fault, Report
from loadtest.record import Ack, ClientLog, Submission
from protocol.codec import encode_body
from protocol.from_client import Body
from protocol.from_server import Entry, MembersChanged, Message, Skip
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId

MATCH = MatchId("m")
ALICE, BOB = UserId("alice"), UserId("bob")


def message(seq: int, text: str = "", *, sender: UserId = ALICE, client_id: str = "", at: int = 0) -> Message:
    """Make the entry at `seq`; all else follows from it."""
    body = encode_body(Body(text or f"text {seq}"))
    return Message(
        MATCH, Seq(seq), Micros(at or seq * 10), Ordinal(seq - 1), sender, ClientId(client_id or f"c{seq}"), body
    )


def members(seq: int = 1) -> MembersChanged:
    return MembersChanged(MATCH, Seq(seq), Micros(seq * 10), (ALICE, BOB), (ALICE, BOB), ())


def log(size: int = 6) -> list[Entry]:
    """Make a good log: the members, then messages of alice."""
    return [members(), *(message(seq) for seq in range(2, size + 1))]


def sender(entries: list[Entry]) -> ClientLog:
    """Make the log of alice, who sent all of `entries` on one connection and saw them."""
    alice = ClientLog(ALICE, shown={MATCH: list(entries)} if entries else {}, connections=1)
    for entry in entries:
        if isinstance(entry, Message):
            submit(alice, entry)
    return alice


def submit(client: ClientLog, entry: Message) -> Submission:
    body = msgspec.json.decode(entry.body, type=Body)
    ack = Ack(entry.seq, entry.created_at, duplicate=False, at_s=entry.seq + 0.5, connection=1)
    submission = Submission(MATCH, entry.client_id, body, float(entry.seq), [1], [ack])
    client.submitted[MATCH, entry.client_id] = submission
    return submission


def reader(entries: list[Entry]) -> ClientLog:
    return ClientLog(BOB, shown={MATCH: entries})


def weigh(stored: list[Entry], *clients: ClientLog, settled: bool = True) -> Report:
    logs: StoredLogs = {MATCH: stored}
    return check(clients, logs, settled=settled)


def faults(report: Report) -> dict[str, int]:
    """Return the counts that are not zero."""
    return {name: count for name, count in report.broken().items() if count}


def test_a_good_run_has_no_fault() -> None:
    """All that was acked is stored once, in order, and was shown to both."""
    report = weigh(log(), sender(log()), reader(log()))
    assert faults(report) == {}
    assert report.faults == 0
    assert (report.acked, report.stored, report.shown, report.clients, report.unanswered) == (5, 6, 12, 2, 0)
    assert "5 messages acked" in report.render()


def test_an_acked_message_that_is_not_stored_is_lost() -> None:
    """P1."""
    alice = sender(log())
    del alice.shown[MATCH]
    assert faults(weigh(log(5), alice)) == {"acked but lost": 1}


def test_an_unanswered_message_may_be_stored_or_not() -> None:
    """Nobody promised anything."""
    alice = sender(log())
    submit(alice, message(7)).acks.clear()
    submit(alice, message(8)).acks.clear()
    report = weigh([*log(), message(7)], alice, reader([*log(), message(7)]), settled=False)
    assert faults(report) == {}
    assert report.unanswered == 2


def test_a_refused_message_is_neither_lost_nor_unanswered() -> None:
    """An error is an answer too."""
    alice = sender(log())
    refused = submit(alice, message(7))
    refused.acks.clear()
    refused.refused = "too_large"
    report = weigh(log(), alice)
    assert (faults(report), report.refused, report.unanswered) == ({}, 1, 0)


def test_a_message_stored_twice_is_doubled() -> None:
    """P3: one key, one entry."""
    again = message(7, "text 3", client_id="c3")
    assert faults(weigh([*log(), again], sender(log()), settled=False)) == {"doubled": 1}


def test_an_entry_shown_twice_is_doubled() -> None:
    """A client that saw 4 twice."""
    twice = [*log()[:4], log()[3], *log()[4:]]
    assert faults(weigh(log(), sender(log()), reader(twice))) == {"doubled": 1}


def test_an_entry_listed_twice_is_doubled_once() -> None:
    """One fault in the store's answer is one count."""
    twice = [*log()[:4], log()[3], *log()[4:]]
    assert faults(weigh(twice, sender(log()))) == {"doubled": 1}


def test_swapped_entries_are_out_of_order() -> None:
    """They are all there, so that there is no gap."""
    swapped = [*log()[:2], log()[3], log()[2], *log()[4:]]
    assert faults(weigh(log(), sender(log()), reader(swapped))) == {"out of order": 1}
    assert faults(weigh(swapped, sender(log()))) == {"out of order": 1}


def test_sends_of_one_connection_keep_their_order() -> None:
    """P2: c3 was sent before c4 and stored after it."""
    stored: list[Entry] = [members(), message(2), message(3, client_id="c4"), message(4, client_id="c3")]
    alice = sender([])
    for seq, entry in ((2, message(2)), (3, stored[3]), (4, stored[2])):
        assert isinstance(entry, Message)
        submission = submit(alice, entry)
        submission.called_at_s, submission.acks[0].at_s = float(seq), 100.0
    assert faults(weigh(stored, alice)) == {"out of order": 1}


def test_a_repeat_has_no_place_in_the_order() -> None:
    """Resent on the next connection, it keeps the seq of the first time."""
    stored: list[Entry] = [members(), message(2, client_id="b"), message(3, client_id="a")]
    alice = sender([])
    for entry in (stored[2], stored[1]):
        assert isinstance(entry, Message)
        submission = submit(alice, entry)
        submission.called_at_s, submission.acks[0].at_s = 1.0, 100.0
        submission.acks[0].duplicate = True
    assert faults(weigh(stored, alice)) == {}
    assert weigh(stored, alice).duplicates_answered == 2


def test_what_was_called_after_an_ack_is_stored_after_it() -> None:
    """Real time, across two users."""
    stored: list[Entry] = [members(), message(2, sender=BOB), message(3)]
    alice, bob = ClientLog(ALICE), ClientLog(BOB)
    submit(alice, message(3))
    submit(bob, message(2, sender=BOB)).called_at_s = 10.0
    bob.submitted[MATCH, ClientId("c2")].acks[0].at_s = 11.0
    assert faults(weigh(stored, alice, bob)) == {"out of order": 1}


def test_an_entry_that_only_a_client_has_is_shown_but_not_stored() -> None:
    """What was shown must be in the log."""
    assert faults(weigh(log(), sender(log()), reader([*log(), message(7)]))) == {"shown but not stored": 1}


def test_another_text_is_differing() -> None:
    """Shown, stored and sent are the same."""
    other = [*log()[:5], message(6, "forged")]
    assert faults(weigh(log(), sender(log()), reader(other))) == {"differing": 1}
    assert faults(weigh(other, sender(log()), reader(other))) == {"differing": 2}


def test_another_time_is_differing() -> None:
    """`created_at` is a key, so every place shows the same."""
    other = [*log()[:5], message(6, at=61)]
    assert faults(weigh(log(), sender(log()), reader(other))) == {"differing": 1}


def test_an_ack_with_another_seq_is_differing() -> None:
    """A resent message must be answered as the first time."""
    alice = sender(log())
    first = alice.submitted[MATCH, ClientId("c3")]
    first.acks.append(replace(first.acks[0], seq=Seq(9), duplicate=True))
    assert faults(weigh(log(), alice)) == {"differing": 1}


def test_a_hidden_entry_is_the_same_entry() -> None:
    """A skip tells the place and the time."""
    hidden: list[Entry] = [*log()[:5], Skip(MATCH, Seq(6), Micros(60))]
    assert faults(weigh(log(), sender(log()), reader(hidden))) == {}


def test_another_kind_of_entry_is_differing() -> None:
    """A message is not a change of members."""
    other: list[Entry] = [*log()[:5], members(6)]
    assert faults(weigh(log(), sender(log()), reader(other))) == {"differing": 1}


def test_a_hole_in_what_was_shown_is_a_gap() -> None:
    """Two entries are missing in the middle."""
    assert faults(weigh(log(), sender(log()), reader([*log()[:2], *log()[4:]]))) == {"gaps in seq": 2}


def test_a_hole_in_the_log_is_a_gap() -> None:
    """P2: `seq` is dense from 1."""
    stored = [*log()[:3], *log()[4:]]
    assert faults(weigh(stored, reader(stored))) == {"gaps in seq": 1 + 1}
    assert faults(weigh(log()[1:], settled=False)) == {"gaps in seq": 1}


def test_who_was_shown_nothing_missed_all() -> None:
    """Of a match that the client knows."""
    assert faults(weigh(log(), sender(log()), reader([]))) == {"missed": 6}


def test_a_view_may_begin_late() -> None:
    """Who joined late sees the log from there."""
    assert faults(weigh(log(), sender(log()), reader(log()[3:]))) == {}


def test_equal_times_are_not_increasing() -> None:
    """P2: `(match, created_at)` is a key."""
    stored = [*log()[:5], message(6, at=50)]
    assert faults(weigh(stored, sender(stored))) == {"created_at not increasing": 1}


def test_who_stopped_early_missed_the_rest() -> None:
    """After everybody had the time to catch up."""
    assert faults(weigh(log(), sender(log()), reader(log()[:4]))) == {"missed": 2}
    assert faults(weigh(log(), sender(log()), reader(log()[:4]), settled=False)) == {}


def test_who_left_misses_nothing() -> None:
    """What came after the end of a membership is not theirs."""
    bob = reader(log()[:4])
    bob.left[MATCH] = True
    assert faults(weigh(log(), sender(log()), bob)) == {}


def test_a_message_that_nobody_sent_is_invented() -> None:
    """Of a user whose whole log is there."""
    stored = [*log(), message(7, client_id="nobody's")]
    assert faults(weigh(stored, sender(log()), settled=False)) == {"stored but never sent": 1}


@pytest.mark.parametrize("kind", ["lost", "gaps"])
def test_findings_are_named_and_bounded(kind: Fault) -> None:
    """A thousand faults print twenty lines."""
    report = Report()
    for number in range(1000):
        report.found(kind, str(number))
    assert (report.faults, len(report.findings)) == (1000, 20)
    assert f"  ! {kind}: 0" in report.render()


def test_reports_do_not_share_findings() -> None:
    """Every report starts empty."""
    Report().found("lost", "x")
    assert Report().findings == []


def test_bodies_are_compared_by_what_they_say() -> None:
    """Another spelling of the same JSON is the same body."""
    spaced = msgspec.structs.replace(message(6), body=Raw(b'{ "text": "text 6" }'))
    assert faults(weigh(log(), sender(log()), reader([*log()[:5], spaced]))) == {}
