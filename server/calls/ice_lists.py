"""Lists of ICE servers, for who sits in a call, is rung by one, or tests devices before one."""

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from protocol.calls import CallIce, CallIceServers, IceServer
from protocol.errors import ErrorCode
from protocol.ids import RequestId
from server.calls.book import Known
from server.calls.lookup import CallLookup
from server.core.log import Refused, refused
from server.ice import IceDesk, IceRefused, IceServers, Participation
from server.peer import Peer, error_of
from server.reads import Reads

Issue = Callable[[], Awaitable[IceServers]]


class IceLists(Struct, frozen=True):
    """Answers `call.ice`. A provider may take seconds: `reads` are lanes that nobody else waits in."""

    desk: IceDesk
    reads: Reads
    lookup: CallLookup

    def asked(self, peer: Peer, request: CallIce) -> None:
        """Answer, now or when there are servers."""
        if request.call is None:
            self._read(peer, request.id, partial(self.desk.for_test, peer.user))
            return
        name = request.call

        def refuse(refusal: Refused) -> None:
            peer.say(error_of(refusal, request.id))

        def ask(known: Known) -> None:
            call = known.call
            if call.seat_at(peer.session) is None and call.open_leg_of(peer.user) is None:
                refuse(refused(ErrorCode.CALL_OVER if call.is_over else ErrorCode.NOT_IN_CALL))
                return
            self._read(peer, request.id, partial(self.desk.for_participant, Participation(name, peer.user)))

        self.lookup.find(peer, name, ask, refuse)

    def _read(self, peer: Peer, request_id: RequestId, issue: Issue) -> None:
        async def read() -> IceServers | Refused:
            try:
                return await issue()
            except IceRefused as over:
                return refused(ErrorCode.RATE_LIMITED, retry_after_ms=over.retry_after_ms)

        def answer(servers: IceServers | Refused) -> None:
            peer.say(error_of(servers, request_id) if isinstance(servers, Refused) else _told(request_id, servers))

        self.reads.submit(read, peer.shield(answer))


def _told(request_id: RequestId, found: IceServers) -> CallIceServers:
    servers = tuple(IceServer(each.urls, each.username or None, each.credential or None) for each in found.servers)
    return CallIceServers(request_id, servers, found.ttl_s, found.expires_at, found.is_degraded)
