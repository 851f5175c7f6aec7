"""What can be wrong with a relay, in words an operator can act on."""

import socket
import ssl
from typing import Final

from aioice import stun

from turn.urls import IceUrl

# RFC 8656 section 19, with what it usually means in practice.
_CODES: Final = {
    300: "the relay sends clients to another server (alternate-server), which is not followed here",
    400: "the relay says that the request is malformed",
    401: "the relay refuses the credentials",
    403: "the relay refuses this peer (forbidden)",
    437: "the relay has lost the allocation",
    438: "the relay's nonce went stale again and again: it is overloaded, or several relays share one address",
    441: "the relay says that the credentials belong to somebody else",
    442: "the relay relays no UDP: remove `no-udp-relay`",
    443: "the relay has no address of the family that the peer has",
    486: "the relay's quota for this user is used up: raise `user-quota`, or calls ended badly a moment ago",
    508: "the relay is full: raise `total-quota` or its range of ports",
}
_UNKNOWN: Final = "the relay answered with an error"


def words_of(problem: Exception, url: IceUrl, limit_s: float) -> str:
    """Say what an exception on the way to `url` means."""
    match problem:
        case stun.TransactionFailed():
            return _refusal(problem)
        case stun.TransactionTimeout() | TimeoutError():
            return _silence(url, limit_s)
        case ssl.SSLCertVerificationError():
            return f"the certificate is not accepted: {problem.verify_message}"
        case ssl.SSLError():
            return f"no TLS at this port, or none that is safe ({problem.reason})"
        case socket.gaierror():
            return f"the name {url.host} cannot be resolved"
        case ConnectionRefusedError():
            return f"nothing listens at port {url.port}/{url.transport}"
        case ConnectionResetError() | ConnectionAbortedError():
            return "the connection was cut off: a firewall, or no TURN server at this port"
        case OSError():
            return f"no connection: {problem.strerror or problem}"
        case _:
            return f"{type(problem).__name__}: {problem}"


def code_of(problem: Exception) -> int:
    """Return the relay's error code, 0 for other problems."""
    return (problem.response.error_code or 0) if isinstance(problem, stun.TransactionFailed) else 0


def _refusal(problem: stun.TransactionFailed) -> str:
    code = code_of(problem)
    return f"{_CODES.get(code, _UNKNOWN)} ({code})"


def _silence(url: IceUrl, limit_s: float) -> str:
    what = "a firewall drops it, or nothing listens there"
    return f"no answer within {limit_s:g} s at port {url.port}/{url.transport}: {what}"
