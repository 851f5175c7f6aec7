"""A look at every line of an SDP, once, before it is relayed: is it one that a browser makes, and within bounds?

Guarantees: time linear in the length; nothing is changed or built from it; a refusal names a rule, never what stood there.
Not a parser: what browsers will make of it is theirs. (Parsers that build objects have cost seconds on 50 KB of crafted
lines, and accepted plain text.) Rules: RFC 8866 for the shape, RFC 8839 for ICE, RFC 8122 for fingerprints, RFC 8842 for
DTLS; SDES keys and old hashes are refused, because media would not be encrypted from end to end with them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from protocol.limits import SDP_CANDIDATES_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX
from signaling.candidates import candidate_problem

_LINE: Final = re.compile(r"[a-z]=[^\x00-\x1f\x7f]*").fullmatch
_MEDIA: Final = re.compile(
    r"(?:(?:audio|video) \d{1,5}(?:/\d{1,5})? (?:UDP/TLS/RTP/SAVPF|TCP/DTLS/RTP/SAVPF)"
    r"|application \d{1,5} (?:(?:UDP|TCP)/DTLS/SCTP|DTLS/SCTP)) \S.*"
).fullmatch
_ICE_CHARS: Final = r"[A-Za-z0-9+/=_-]"  # Beyond RFC 8839's ice-char what implementations are known to send.
_UFRAG: Final = re.compile(_ICE_CHARS + r"{4,256}").fullmatch
_PASSWORD: Final = re.compile(_ICE_CHARS + r"{22,256}").fullmatch
_FINGERPRINT: Final = re.compile(r"sha-(?:256|384|512) (?:[0-9A-Fa-f]{2}:){31,63}[0-9A-Fa-f]{2}").fullmatch
_SETUP: Final = re.compile(r"actpass|active|passive|holdconn").fullmatch

_MUST_HAVE: Final = ("ice-ufrag", "ice-pwd", "fingerprint", "setup")
_VALUES: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "ice-ufrag": (_UFRAG, "a=ice-ufrag has 4 to 256 ICE characters"),
    "ice-pwd": (_PASSWORD, "a=ice-pwd has 22 to 256 ICE characters"),
    "fingerprint": (_FINGERPRINT, "a=fingerprint is SHA-256, SHA-384 or SHA-512"),
    "setup": (_SETUP, "a=setup is actpass, active or passive"),
}


def sdp_problem(sdp: str) -> str | None:
    """Return the rule that `sdp` breaks, in words for its sender; None when it may be relayed."""
    lines = _lines(sdp)
    if len(lines) > SDP_LINES_MAX:
        return f"at most {SDP_LINES_MAX} lines"
    if lines[0] != "v=0":
        return "the first line is v=0"
    seen: set[str] = set()
    media = candidates = 0
    for line in lines:
        if not _LINE(line):
            return "every line is a letter, = and text without control characters"
        if line.startswith("m="):
            media += 1
            if not _MEDIA(line, 2):
                return "m= is audio, video or application over DTLS"
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            candidates += name == "candidate"
            problem = _attribute_problem(name, value)
            if problem is not None:
                return problem
            seen.add(name)
    return _whole_problem(media, candidates, seen)


def _lines(sdp: str) -> list[str]:
    """Split at CRLF, and at LF alone, which RFC 8866 section 5 asks parsers to take; the last one may be unended."""
    lines = sdp.replace("\r\n", "\n").split("\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _attribute_problem(name: str, value: str) -> str | None:
    if name == "candidate":
        return candidate_problem(f"candidate:{value}")
    if name == "crypto":
        return "a=crypto: keys in the SDP are refused, DTLS makes them"
    if name in _VALUES:
        is_good, rule = _VALUES[name]
        return None if is_good(value) else rule
    return None


def _whole_problem(media: int, candidates: int, seen: set[str]) -> str | None:
    if not 0 < media <= SDP_MEDIA_MAX:
        return f"1 to {SDP_MEDIA_MAX} m= lines"
    if candidates > SDP_CANDIDATES_MAX:
        return f"at most {SDP_CANDIDATES_MAX} candidates"
    missing = next((name for name in _MUST_HAVE if name not in seen), None)
    return f"a={missing} is missing" if missing else None
