"""A call by its name: at once where this node knows it, else from the store."""

from collections.abc import Callable

from msgspec import Struct

from protocol.calls import CallId
from protocol.errors import ErrorCode
from server.calls.book import CallBook, Known
from server.core.calls import CallView
from server.core.log import Refused, refused
from server.peer import Peer
from server.ports import Calls
from server.reads import Reads


class CallLookup(Struct, frozen=True):
    """Finds calls for connections. What is found in the book may be ahead of the store by what is not written yet."""

    book: CallBook
    store: Calls
    reads: Reads

    def find(self, peer: Peer, name: CallId, use: Callable[[Known], None], refuse: Callable[[Refused], None]) -> None:
        """Have one of the two called: with what is known of the call, or with why not."""
        known = self.book.get(name)
        if known is not None:
            use(known)
            return

        def read(view: CallView | Refused) -> None:
            if isinstance(view, Refused):
                refuse(view)
            elif view.row is None:
                refuse(refused(ErrorCode.NOT_IN_CALL))
            else:
                use(self.book.learn(view.row))

        self.reads.submit(lambda: self.store.call_view(call=name, caller=None, since_us=0), peer.shield(read))
