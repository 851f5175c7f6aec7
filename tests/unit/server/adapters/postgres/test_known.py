"""What a node remembers of matches and users, within bounds."""

from protocol.ids import MatchId, Seq, UserId
from server.adapters.postgres.known import CHANGES_KEPT, Known

M, N, P = (MatchId(name) for name in "mnp")
ALICE, BOB = UserId("alice"), UserId("bob")


def test_the_newest_seq_is_kept() -> None:
    known = Known()
    assert known.seq(M) is None
    for seq in (3, 5, 4):
        known.saw(M, Seq(seq))
    assert known.seq(M) == 5


def test_the_match_that_was_longest_not_seen_is_forgotten() -> None:
    known = Known(matches=2)
    for match in (M, N, M, P):
        known.saw(match, Seq(1))
    assert [known.seq(match) for match in (M, N, P)] == [1, None, 1]


def test_changes_are_kept_of_users_whose_matches_were_read() -> None:
    known = Known(users=1)
    known.changed(M, Seq(1), [ALICE])
    assert (known.changes_of(ALICE), known.seq(M)) == (None, 1)
    known.read_matches_of(ALICE)
    known.changed(M, Seq(2), [ALICE, BOB])
    known.changed(N, Seq(1), [ALICE])
    assert known.changes_of(ALICE) == {M: 2, N: 1}
    known.read_matches_of(ALICE)
    assert known.changes_of(ALICE) == {}
    known.read_matches_of(BOB)
    assert (known.changes_of(ALICE), known.changes_of(BOB)) == (None, {})


def test_a_user_of_too_many_changes_is_read_anew() -> None:
    known = Known()
    known.read_matches_of(ALICE)
    for number in range(CHANGES_KEPT + 1):
        known.changed(MatchId(f"{number}"), Seq(1), [ALICE])
    assert known.changes_of(ALICE) is None
