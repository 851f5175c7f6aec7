"""Who is told of what, after it happened: the one place where a commit becomes pushes, here and on the other nodes.

Called in commit order and without awaiting, so that every connection sees a match's entries in the order of its log.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from protocol.calls import CallEntry
from protocol.from_client import JsonObject, TypingKind
from protocol.from_server import (
    AppEvent,
    BlockChanged,
    MatchLeft,
    MatchMade,
    MatchSettings,
    MatchSummary,
    Message,
    Presence,
    PresenceChanged,
    ReceiptMoved,
    TypingSeen,
)
from protocol.ids import MatchId, UserId
from server.core.latest import Key, presence_key, receipt_key, typing_key
from server.core.log import Appended, Marked, MembersSet
from server.core.notices import MembersNews
from server.core.people import Person, PrivateReadSet, skip_of
from server.core.typing import TypingBook
from server.core.watches import Watches
from server.hub import Hub, Members, Recipient, frame
from server.outbox import payload_of
from server.people import People
from server.ports import Bus
from server.telemetry import Telemetry

TAKEN_BACK: Final = b""
# In place of an ephemeral frame, over the bus: whoever has that of the same key still waiting drops it.
_MESSAGE: Final = b'{"type":"message",'


class _Said(Struct):
    """What tells whose writing a message ends."""

    match: MatchId
    sender: UserId


_said: Final = msgspec.json.Decoder(_Said).decode


class DeliveryParts(Struct, frozen=True):
    """What delivery works with."""

    hub: Hub
    people: People
    bus: Bus
    typing: TypingBook
    watches: Watches[Recipient]
    telemetry: Telemetry


class Delivery:
    """Turns what was stored, or what is only true for the moment, into frames for those whom it concerns."""

    __slots__ = ("_bus", "_hub", "_people", "_telemetry", "_typing", "_watches", "_withheld")

    def __init__(self, parts: DeliveryParts) -> None:
        self._hub = parts.hub
        self._people = parts.people
        self._bus = parts.bus
        self._watches = parts.watches
        self._telemetry = parts.telemetry
        self._typing = parts.typing
        # Who was not told of somebody, because it was not known whether they may be.
        self._withheld: dict[Recipient, None] = {}

    def message_stored(self, appended: Appended, sender: Recipient | None = None) -> None:
        """Push a new message to every connection of every member but the one that sent it."""
        if appended.duplicate:
            self._telemetry.messages_duplicate += 1
            return
        self._telemetry.messages_stored += 1
        message = appended.message
        for kind in self._typing.stopped(message.sender, message.match):
            key = typing_key(message.sender, message.match, kind)
            self._hub.drop_latest(appended.members, key)
            # In front of the message, as what one node tells another stays in order.
            self._bus.route(appended.members, TAKEN_BACK, key)
        self._push_entry(message, appended.members, appended.hidden, skip=sender)

    def call_told(self, entry: CallEntry, members: Members, hidden: Sequence[UserId]) -> None:
        """Push what the log says of a call to every connection of every member; the `hidden` have blocked the caller."""
        self._push_entry(entry, members, hidden)

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
        key = receipt_key(receipt.match, receipt.user)
        if not marked.hidden and marked.shown is None:
            self._push_latest(marked.members, key, frame(receipt), skip=sender)
            return
        others = [member for member in marked.members if member != receipt.user and member not in marked.hidden]
        self._push_latest((receipt.user,), key, frame(receipt), skip=sender)
        self._push_latest(others, key, frame(marked.shown or receipt))

    def reads_in_private(
        self, user: UserId, change: PrivateReadSet, *, is_on: bool, sender: Recipient | None = None
    ) -> None:
        """Tell the user's other connections, and when it is over the other members how far the user is."""
        match = change.receipt.match
        self._push((user,), frame(MatchSettings(match, is_on)), skip=sender)
        if not is_on:
            others = [member for member in change.members if member != user and member not in change.hidden]
            self._push_latest(others, receipt_key(match, user), frame(change.receipt))

    def block_changed(self, user: UserId, other: UserId, *, is_on: bool, sender: Recipient | None = None) -> None:
        """Tell the user's other connections whom they have blocked, or not any more."""
        self._push((user,), frame(BlockChanged(other, is_on)), skip=sender)

    def parted(self, user: UserId, other: UserId) -> None:
        """One of two has blocked the other: what `other` still sees of `user`, or `user` of `other`, ends."""
        key = presence_key(other)
        for recipient in self._hub.connections(user):
            recipient.outbox.drop_latest(key)
        for match, kind in self._typing.shown(user):
            if other in (self._hub.members(match) or ()):
                self._tell_typing(user, match, (other,), on=False, kind=kind)

    def typing(
        self,
        user: UserId,
        match: MatchId,
        members: Members,
        *,
        on: bool,
        kind: TypingKind,
        person: Person | None = None,
    ) -> None:
        """Tell the other members that `user` is writing (or recording), or has stopped; `person` if it was just read."""
        self._tell_typing(user, match, self._may_be_told(user, members, person), on=on, kind=kind)

    def _tell_typing(
        self, user: UserId, match: MatchId, told: tuple[UserId, ...], *, on: bool, kind: TypingKind
    ) -> None:
        key, framed = typing_key(user, match, kind), frame(TypingSeen(match, user, on, kind))
        self._hub.push_passing(told, key, framed)
        self._bus.route(told, framed, key)

    def _may_be_told(self, user: UserId, members: Members, read: Person | None) -> tuple[UserId, ...]:
        """Return who of `members` may know what `user` is doing at the moment: the one place that decides it.

        Where it is not known whom a block stands between, nobody.
        """
        person = self._people.person(user) or read
        if person is None:
            return ()
        apart = person.apart
        return tuple(member for member in members if member != user and member not in apart)

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
        key = presence_key(presence.user)
        for watcher in watchers:
            viewer = self._people.person(watcher.user)
            if viewer is None:
                self._withheld[watcher] = None
                continue
            if viewer.is_apart_from(presence.user):
                continue
            if not watcher.outbox.send_latest(key, news):
                watcher.send(news)  # Too many keys wait: a durable frame takes them along, and no change is lost.

    def was_withheld(self, recipient: Recipient) -> bool:
        """Tell, once, whether something was kept from `recipient` because it was not known whether they may see it."""
        return self._withheld.pop(recipient, 0) is None

    def event(self, user: UserId, name: str, data: JsonObject) -> int:
        """Push an app event to the user's connections; return how many there are on this node."""
        self._push((user,), frame(AppEvent(name, data)))
        return len(self._hub.connections(user))

    def _push_entry(
        self,
        entry: Message | CallEntry,
        members: Members,
        hidden: Collection[UserId],
        *,
        skip: Recipient | None = None,
    ) -> None:
        if not hidden:
            self._push(members, frame(entry), skip=skip)
            return
        self._push([member for member in members if member not in hidden], frame(entry), skip=skip)
        self._push(hidden, frame(skip_of(entry)))

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
