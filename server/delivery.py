"""Who is told of what, after it happened: the one place where a commit becomes pushes.

Called in commit order and without awaiting, so that every connection sees a match's entries in the order of its log.
"""

from protocol.from_client import JsonObject
from protocol.from_server import (
    AppEvent,
    MatchLeft,
    MatchMade,
    MatchSummary,
    PresenceChanged,
    ReceiptMoved,
    TypingSeen,
)
from protocol.ids import MatchId, UserId
from server.core.log import Appended, Marked, MembersSet
from server.core.presence import Change
from server.core.typing import TypingBook
from server.hub import Hub, Members, Recipient, frame
from server.telemetry import Telemetry


class Delivery:
    """Turns what was stored, or what is only true for the moment, into frames for those whom it concerns."""

    __slots__ = ("_hub", "_telemetry", "_typing")

    def __init__(self, hub: Hub, typing: TypingBook, telemetry: Telemetry) -> None:
        self._hub = hub
        self._telemetry = telemetry
        self._typing = typing

    def message_stored(self, appended: Appended, sender: Recipient | None = None) -> None:
        """Push a new message to every connection of every member but the one that sent it."""
        if appended.duplicate:
            self._telemetry.messages_duplicate += 1
            return
        self._telemetry.messages_stored += 1
        message = appended.message
        if self._typing.stopped(message.sender, message.match):
            self._hub.drop_latest(appended.members, ("typing", message.match, message.sender))
        self._hub.push(appended.members, frame(message), skip=sender)

    def members_set(self, change: MembersSet) -> None:
        """Tell those who joined of the match, those who were and are there of the change, those who left that they did."""
        if change.entry is None:
            return
        match, entry = change.match, change.entry
        self._hub.set_members(match, change.members)
        for user, summary in change.joined:
            self._hub.push((user,), frame(_made(summary)))
        joined = dict(change.joined)
        told = tuple(user for user in change.members if user not in joined) + entry.left
        self._hub.push(told, frame(entry))
        self._hub.push(entry.left, frame(MatchLeft(match)))
        for user in entry.left:
            if self._typing.stopped(user, match):
                self.typing(user, match, change.members, on=False)

    def marked(self, marked: Marked, sender: Recipient | None = None) -> None:
        """Tell how far a member is; of several the latest is the one that counts."""
        receipt: ReceiptMoved = marked.receipt
        key = ("receipt", receipt.match, receipt.user)
        self._hub.push_latest(marked.members, key, frame(receipt), skip=sender)

    def typing(self, user: UserId, match: MatchId, members: Members, *, on: bool) -> None:
        """Tell the other members that `user` is writing, or has stopped."""
        others = [member for member in members if member != user]
        self._hub.push_latest(others, ("typing", match, user), frame(TypingSeen(match, user, on)))

    def presence(self, change: Change[Recipient]) -> None:
        """Tell those who watch a user how that user is now."""
        self._telemetry.presence_changes += 1
        presence = change.presence
        news = frame(PresenceChanged((presence,)))
        key = ("presence", presence.user)
        for watcher in change.watchers:
            if not watcher.outbox.send_latest(key, news):
                watcher.send(news)  # Too many keys wait: a durable frame takes them along, and no change is lost.

    def event(self, user: UserId, name: str, data: JsonObject) -> int:
        """Push an app event to the user's connections; return how many there are."""
        connections = self._hub.connections(user)
        if connections:
            self._hub.push((user,), frame(AppEvent(name, data)))
        return len(connections)


def _made(summary: MatchSummary) -> MatchMade:
    return MatchMade(summary.match, summary.members, summary.last_seq, summary.last_at, summary.unread, summary.last)
