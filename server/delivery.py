"""Who is told of what, after it happened: the one place where a commit becomes pushes, here and on the other nodes.

Called in commit order and without awaiting, so that every connection sees a match's entries in the order of its log.
"""

from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

from protocol.calls import CallEntry
from protocol.from_client import JsonObject, TypingKind
from protocol.from_server import (
    AppEvent,
    MatchLeft,
    MatchMade,
    MatchSummary,
    Presence,
    PresenceChanged,
    ReceiptMoved,
    TypingSeen,
)
from protocol.ids import MatchId, UserId
from server.core.log import Appended, Marked, MembersSet
from server.core.notices import MembersNews
from server.core.people import skip_of
from server.core.typing import TypingBook, key_of
from server.core.watches import Watches
from server.hub import Hub, Members, Recipient, frame
from server.outbox import payload_of
from server.ports import Bus, Key
from server.telemetry import Telemetry

TAKEN_BACK: Final = b""
# In place of an ephemeral frame, over the bus: whoever has that of the same key still waiting drops it.
_MESSAGE: Final = b'{"type":"message",'


class _Said(Struct):
    """What tells whose writing a message ends."""

    match: MatchId
    sender: UserId


_said: Final = msgspec.json.Decoder(_Said).decode


class Delivery:
    """Turns what was stored, or what is only true for the moment, into frames for those whom it concerns."""

    __slots__ = ("_bus", "_hub", "_telemetry", "_typing", "_watches")

    def __init__(
        self, hub: Hub, bus: Bus, typing: TypingBook, watches: Watches[Recipient], telemetry: Telemetry
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._watches = watches
        self._telemetry = telemetry
        self._typing = typing

    def message_stored(self, appended: Appended, sender: Recipient | None = None) -> None:
        """Push a new message to every connection of every member but the one that sent it."""
        if appended.duplicate:
            self._telemetry.messages_duplicate += 1
            return
        self._telemetry.messages_stored += 1
        message = appended.message
        for kind in self._typing.stopped(message.sender, message.match):
            key = key_of(message.sender, message.match, kind)
            self._hub.drop_latest(appended.members, key)
            # In front of the message, as what one node tells another stays in order.
            self._bus.route(appended.members, TAKEN_BACK, key)
        if not appended.hidden:
            self._push(appended.members, frame(message), skip=sender)
            return
        shown = [member for member in appended.members if member not in appended.hidden]
        self._push(shown, frame(message), skip=sender)
        self._push(appended.hidden, frame(skip_of(message)))

    def call_told(self, entry: CallEntry, members: Members) -> None:
        """Push what the log says of a call to every connection of every member."""
        self._push(members, frame(entry))

    def members_set(self, change: MembersSet) -> None:
        """Tell those who joined of the match, those who were and are there of the change, those who left that they did."""
        if change.entry is None:
            return
        match, entry = change.match, change.entry
        self._hub.set_members(match, change.members, entry.seq)
        self._bus.announce(MembersNews(match, entry.seq, change.members, entry.joined, entry.left))
        for user, summary in change.joined:
            self._push((user,), frame(made(summary)))
        joined = dict(change.joined)
        told = tuple(user for user in change.members if user not in joined) + entry.left
        self._push(told, frame(entry))
        self._push(entry.left, frame(MatchLeft(match)))
        self.left(match, entry.left, change.members)

    def marked(self, marked: Marked, sender: Recipient | None = None) -> None:
        """Tell how far a member is; of several the latest is the one that counts."""
        receipt: ReceiptMoved = marked.receipt
        key = ("receipt", receipt.match, receipt.user)
        if not marked.hidden and marked.shown is None:
            self._push_latest(marked.members, key, frame(receipt), skip=sender)
            return
        others = [member for member in marked.members if member != receipt.user and member not in marked.hidden]
        self._push_latest((receipt.user,), key, frame(receipt), skip=sender)
        self._push_latest(others, key, frame(marked.shown or receipt))

    def typing(self, user: UserId, match: MatchId, members: Members, *, on: bool, kind: TypingKind) -> None:
        """Tell the other members that `user` is writing (or recording), or has stopped."""
        told = self._may_be_told(user, members)
        key, framed = key_of(user, match, kind), frame(TypingSeen(match, user, on, kind))
        self._hub.push_passing(told, key, framed)
        self._bus.route(told, framed, key)

    def _may_be_told(self, user: UserId, members: Members) -> tuple[UserId, ...]:
        """Return who of `members` may know what `user` is doing at the moment: the one place that decides it."""
        return tuple(member for member in members if member != user)

    def left(self, match: MatchId, users: Collection[UserId], members: Members) -> None:
        """These users are no members any more: what they were writing by connections of this node is over."""
        for user in users:
            self._stop(user, match, members)

    def heard(self, users: Collection[UserId], framed: bytes) -> None:
        """Another node tells `users`, who are here, this: a message ends what its sender was writing on this node.

        That may have overtaken the message on its way to a third node; `off` follows it there.
        """
        if not self._typing.concerns(users):
            return
        payload = payload_of(framed)
        if payload.startswith(_MESSAGE):
            said = _said(payload)
            self._stop(said.sender, said.match, self._hub.members(said.match) or tuple(users))

    def _stop(self, user: UserId, match: MatchId, members: Members) -> None:
        for kind in self._typing.stopped(user, match):
            self.typing(user, match, members, on=False, kind=kind)

    def presence(self, presence: Presence) -> None:
        """Tell those who watch a user how that user is now."""
        watchers = self._watches.news(presence)
        if not watchers:
            return
        self._telemetry.presence_changes += 1
        news = frame(PresenceChanged((presence,)))
        key = ("presence", presence.user)
        for watcher in watchers:
            if not watcher.outbox.send_latest(key, news):
                watcher.send(news)  # Too many keys wait: a durable frame takes them along, and no change is lost.

    def event(self, user: UserId, name: str, data: JsonObject) -> int:
        """Push an app event to the user's connections; return how many there are on this node."""
        self._push((user,), frame(AppEvent(name, data)))
        return len(self._hub.connections(user))

    def _push(self, users: Collection[UserId], framed: bytes, *, skip: Recipient | None = None) -> None:
        if users:
            self._hub.push(users, framed, skip=skip)
            self._bus.route(tuple(users), framed)

    def _push_latest(
        self, users: Collection[UserId], key: Key, framed: bytes, *, skip: Recipient | None = None
    ) -> None:
        self._hub.push_latest(users, key, framed, skip=skip)
        self._bus.route(tuple(users), framed, key)


def made(summary: MatchSummary) -> MatchMade:
    """Return the push that tells a user of a match, from the match as that user sees it."""
    return MatchMade(summary.match, summary.members, summary.last_seq, summary.last_at, summary.unread, summary.last)
