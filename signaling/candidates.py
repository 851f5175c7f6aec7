"""ICE candidates as text: what one looks like (RFC 8839 section 5.1), and how one that tells no address looks."""

import re
from typing import Final

from protocol.limits import CANDIDATE_MAX_CHARS

# candidate:foundation component transport priority address port typ type, then pairs of names and values.
_CANDIDATE: Final = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} [1-9]\d{0,2} (?:udp|tcp) \d{1,10} [0-9A-Za-z.:%_-]{1,253} \d{1,5}"
    r" typ (?P<type>host|srflx|prflx|relay)(?: [!-~]{1,64} [!-~]{1,253})*",
    re.IGNORECASE,
).fullmatch
_BASE: Final = re.compile(r" (raddr|rport) [!-~]+", re.IGNORECASE)
_NOWHERE: Final = {"raddr": " raddr 0.0.0.0", "rport": " rport 9"}


def candidate_problem(candidate: str) -> str | None:
    """Return the rule that `candidate` breaks; None for a good one and for the empty one, which ends a generation."""
    if not candidate or candidate == "candidate:":
        return None
    if len(candidate) > CANDIDATE_MAX_CHARS or not _CANDIDATE(candidate):
        return "a candidate reads `candidate:foundation component transport priority address port typ type …`"
    return None


def is_relayed(candidate: str) -> bool:
    """Tell whether a good candidate names a TURN server's address (or nothing at all), and not its user's."""
    found = _CANDIDATE(candidate)
    return found is None or found["type"].lower() == "relay"


def without_base(candidate: str) -> str:
    """Return a relayed candidate without the address behind the relay, as browsers that relay only send it."""
    return _BASE.sub(lambda found: _NOWHERE[found[1].lower()], candidate)
