"""What a reader gets to see when one of two has blocked the other."""

from msgspec import Raw, structs

from protocol.calls import CallEntry, CallId, CallOutcome
from protocol.from_server import MatchSummary, Member, MembersChanged, Message, ReceiptMoved, Skip
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from server.core.people import Person, author_of, entries_for, entry_for, is_counted, receipts_for, summary_for

ALICE, BOB, CAROL, M = UserId("alice"), UserId("bob"), UserId("carol"), MatchId("m")
SAID = Message(M, Seq(2), Micros(5), Ordinal(1), BOB, ClientId("c"), Raw(b'{"text":"hi"}'))
SKIPPED = Skip(M, Seq(2), Micros(5))
VIEWER = Person(blocked=frozenset({BOB}))


def test_two_are_apart_whoever_blocked_the_other() -> None:
    blocked = Person(blocked_by=frozenset({BOB}))
    assert [each.is_apart_from(BOB) for each in (VIEWER, blocked, Person())] == [True, True, False]
    assert VIEWER.with_block_by(CAROL, is_on=True).apart == {BOB, CAROL}
    assert VIEWER.apart == {BOB}


def test_who_blocked_the_sender_sees_that_there_is_something_and_not_what() -> None:
    """In a group; in a match of two nothing is sent any more, and what was said stays."""
    assert entry_for(VIEWER, SAID, 3) == SKIPPED
    assert entry_for(VIEWER, SAID, 2) == SAID
    assert entries_for(VIEWER, (SAID, structs.replace(SAID, sender=CAROL)), 3)[1].seq == SAID.seq
    assert entry_for(Person(blocked_by=frozenset({BOB})), SAID, 3) == SAID


def test_calls_are_their_callers_and_only_missed_ones_count() -> None:
    """What is nobody's is seen by everybody."""
    call = CallEntry(M, Seq(3), Micros(6), CallId("c"), CallOutcome.RINGING, BOB, "audio", Micros(6), (BOB,))
    missed = structs.replace(call, state=CallOutcome.MISSED, n=Ordinal(2))
    change = MembersChanged(M, Seq(4), Micros(7), (ALICE, BOB), (), (CAROL,))
    assert [author_of(entry) for entry in (SAID, call, change, SKIPPED)] == [BOB, BOB, None, None]
    assert [is_counted(entry) for entry in (SAID, call, missed, change)] == [True, False, True, False]
    assert entries_for(VIEWER, (call, change), 3) == (Skip(M, Seq(3), Micros(6)), change)
    assert entry_for(VIEWER, call, 2) == call


def test_how_far_the_other_is_is_nobodys_business() -> None:
    receipts = [ReceiptMoved(M, user, Seq(2), Seq(1)) for user in (BOB, CAROL)]
    assert receipts_for(VIEWER, receipts) == (receipts[1],)


def test_a_summary_hides_it_too() -> None:
    members = tuple(Member(user, Seq(2), Seq(1)) for user in (ALICE, BOB, CAROL))
    summary = MatchSummary(M, members, Seq(2), Micros(5), 1, SAID)
    seen = summary_for(VIEWER, summary, {M: 1})
    assert seen.members == (members[0], Member(BOB, Seq(0), Seq(0)), members[2])
    assert (seen.last, seen.unread) == (SKIPPED, 0)
    assert summary_for(VIEWER, structs.replace(summary, last=None), {}).last is None
