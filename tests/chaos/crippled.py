"""Nodes, clients and databases that lack one of their defences. A run with such must fail by its counts.

Nothing of this is in the server: parts are replaced in the process of a node or of the clients, or in the private database.
"""

from typing import Final

import asyncpg

from loadtest.resuming import ResumingClient
from protocol.from_server import Entry
from server.ports import RouteLog
from server.relay import Relay

# What each of these does without.
DEFENCES: Final = {
    "dedup": "a message that comes again is stored again",
    "lock": "matches are not locked while messages are added",
    "routing": "commits that were not routed are not taken over",
    "repair": "what may have been missed on the bus is not told again",
    "sync": "clients show what comes, and ask for nothing that is missing",
}

_NO_DEDUP: Final = """
CREATE OR REPLACE FUNCTION duologue.find_sent(
    p_match_no bigint, p_sender integer, p_client_id text, p_after bigint, p_until bigint
) RETURNS duologue.entries LANGUAGE sql STABLE AS 'SELECT NULL::duologue.entries';
DO $$
DECLARE v_name text;
BEGIN
    FOR v_name IN SELECT indexname FROM pg_indexes WHERE schemaname = 'duologue' AND indexname LIKE '%\\_sent' LOOP
        EXECUTE format('DROP INDEX duologue.%I', v_name);
    END LOOP;
END $$;
"""
_NO_LOCK: Final = """
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('duologue.append'::regproc), 'FOR NO KEY UPDATE', '');
END $$;
"""
_STATEMENTS: Final = {"dedup": _NO_DEDUP, "lock": _NO_LOCK}


async def cripple_database(defence: str, url: str) -> None:
    """Take the defence from the database that the nodes have made, if it is there that it is."""
    if defence in _STATEMENTS:
        connection = await asyncpg.connect(url)
        await connection.execute(_STATEMENTS[defence])
        await connection.close()


def cripple_clients(defence: str) -> None:
    """Take the defence from the clients of this process, if it is theirs."""
    if defence == "sync":
        _replace(ResumingClient, "_entry", _show_what_comes)


def cripple_node(defence: str) -> None:
    """Take the defence from the node that this process will be, if it is the node's."""
    if defence == "routing":
        _replace(Relay, "_claim", _claim_nothing)
    elif defence == "repair":
        _replace(Relay, "repair", _repair_nothing)


def _show_what_comes(client: ResumingClient, entry: Entry) -> None:
    if entry.seq > client.cursor(entry.match)[0]:
        client._apply(entry)


async def _claim_nothing(relay: Relay, routes: RouteLog) -> None:
    del relay, routes


def _repair_nothing(relay: Relay, since: float) -> None:
    del relay, since


def _replace(owner: type, name: str, by: object) -> None:
    assert hasattr(owner, name), f"{owner.__name__}.{name} is called otherwise now"
    setattr(owner, name, by)
