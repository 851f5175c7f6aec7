"""Who may see what was committed some time ago."""

from collections.abc import Sequence

from msgspec import Raw

from protocol.from_server import MembersChanged, Message
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from server.core.log import MatchState
from server.retelling import with_viewers

M1 = "m1"
ALICE, BOB, CAROL, DAVE = (UserId(name) for name in ("alice", "bob", "carol", "dave"))


def test_entries_after_the_state_say_themselves_who_is_there() -> None:
    """Members that came after the state was read see nothing of before, those who left nothing of after."""
    match = MatchId(M1)

    def change(seq: int, members: Sequence[UserId], joined: Sequence[UserId], left: Sequence[UserId]) -> MembersChanged:
        return MembersChanged(match, Seq(seq), Micros(seq), tuple(members), tuple(joined), tuple(left))

    first, second = change(2, (BOB, CAROL), (CAROL,), (ALICE,)), change(4, (CAROL, DAVE), (DAVE,), (BOB,))
    between = Message(match, Seq(3), Micros(3), Ordinal(1), BOB, ClientId("c"), Raw(b"{}"))
    entries = (first, between, second)
    for last_seq, members in ((1, (ALICE, BOB)), (2, (BOB, CAROL)), (4, (CAROL, DAVE))):
        state = MatchState(match, members, Seq(last_seq), Micros(last_seq), 0)
        viewers = [set(seen) for _, seen in with_viewers(entries, state)]
        assert viewers == [{ALICE, BOB, CAROL}, {BOB, CAROL}, {BOB, CAROL, DAVE}]
