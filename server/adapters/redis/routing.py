"""Calls of the `route` script, one at a time. One whose answer is missing is sent again as it was: the script knows by its
number whether it was done. Only under another name nobody can know, and then it is given up.
"""

from collections.abc import Callable, Sequence

from server.adapters.redis.outgoing import Outgoing, RouteCall


class Routing:
    """Takes calls from the queue and looks after the one under way."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._under_way: RouteCall | None = None
        self._numbers = 0

    def next_call(self, routed: Callable[[Sequence[int]], None]) -> RouteCall | None:
        """Return the call to send now; commits with nothing to send are `routed` at once."""
        while self._under_way is None and self._outgoing:
            call = self._outgoing.take()
            if call.has_items:
                self._numbers += 1
                call.number = self._numbers
                self._under_way = call
            elif route_ids := call.route_ids():
                routed(route_ids)
        return self._under_way

    def answered(self, reply: object, routed: Callable[[Sequence[int]], None]) -> None:
        """Take the script's answer to the call under way."""
        call, self._under_way = self._under_way, None
        assert call is not None
        match reply:
            case b"ok" | b"done":
                if route_ids := call.route_ids():
                    routed(route_ids)
            case b"lost":
                self._outgoing.put_back(call.entries)
            case _:  # A call that always fails must not stand in the way of all others.
                self._outgoing.refuse(call)

    def begin_anew(self) -> None:
        """The node has another name: number from 1, and give up what may have been done under the old one."""
        self._numbers = 0
        if self._under_way is not None:
            self._outgoing.give_up(self._under_way)
            self._under_way = None
