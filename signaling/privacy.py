"""Keeps the addresses of a seat that is relayed only from the others.

The browser's own `iceTransportPolicy` comes first: a peer would see an address in the packets themselves. This is for a
client that gathered more than it should, and for SDP that names the machine on other lines.
"""

import re
from typing import Final

from msgspec import structs

from protocol.calls import CallSignal, Description
from signaling.candidates import is_relayed, without_base

# Lines that hold an address: the origin, the connection, and the port for RTCP (RFC 8866 sections 5.2, 5.7; RFC 3605).
_ORIGIN: Final = re.compile(r"^(o=.* )IN IP[46] [^\r\n]*", re.MULTILINE)
_CONNECTION: Final = re.compile(r"^c=IN IP[46] [^\r\n]*", re.MULTILINE)
_RTCP: Final = re.compile(r"^a=rtcp:\d+[^\r\n]*", re.MULTILINE)
_PORT: Final = re.compile(r"^(m=[a-z]+ )(?!0 )\d+", re.MULTILINE)
_CANDIDATE: Final = re.compile(r"^a=(candidate:[^\r\n]*)\r?\n?", re.MULTILINE)
_ANYWHERE: Final = "IN IP4 0.0.0.0"


def hide_addresses(signal: CallSignal) -> CallSignal:
    """Return `signal`, already found good, with relayed candidates only; it may have become empty."""
    candidates = tuple(
        structs.replace(each, candidate=without_base(each.candidate))
        for each in signal.candidates
        if is_relayed(each.candidate)
    )
    description = signal.description
    if description is not None:
        description = Description(description.type, _hidden(description.sdp))
    return structs.replace(signal, candidates=candidates, description=description)


def _hidden(sdp: str) -> str:
    sdp = _CANDIDATE.sub(lambda found: without_base(found[0]) if is_relayed(found[1]) else "", sdp)
    sdp = _ORIGIN.sub(rf"\g<1>{_ANYWHERE}", sdp)
    sdp = _CONNECTION.sub(f"c={_ANYWHERE}", sdp)
    sdp = _PORT.sub(r"\g<1>9", sdp)
    return _RTCP.sub(f"a=rtcp:9 {_ANYWHERE}", sdp)
