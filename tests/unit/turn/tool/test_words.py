"""What an exception on the way to a relay is called."""

import socket
import ssl

import pytest
from aioice import stun

from turn.tool.words import code_of, words_of
from turn.urls import parse_ice_url

URL = parse_ice_url("turns:turn.example.org:443")


def refused(code: int | None) -> stun.TransactionFailed:
    message = stun.Message(stun.Method.ALLOCATE, stun.Class.ERROR)
    if code is not None:
        message.attributes["ERROR-CODE"] = (code, "Said")
    return stun.TransactionFailed(message)


UNTRUSTED = ssl.SSLCertVerificationError(1, "x")
UNTRUSTED.verify_message = "Hostname mismatch"
NO_TLS = ssl.SSLError(1, "x")
NO_TLS.reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    "problem, words",
    [
        (refused(401), "the relay refuses the credentials (401)"),
        (refused(486), "the relay's quota for this user is used up: raise `user-quota`, or calls ended badly a moment ago (486)"),
        (refused(420), "the relay answered with an error (420)"),
        (refused(None), "the relay answered with an error (0)"),
        (stun.TransactionTimeout(), "no answer within 5 s at port 443/tcp: a firewall drops it, or nothing listens there"),
        (TimeoutError(), "no answer within 5 s at port 443/tcp: a firewall drops it, or nothing listens there"),
        (UNTRUSTED, "the certificate is not accepted: Hostname mismatch"),
        (NO_TLS, "no TLS at this port, or none that is safe (WRONG_VERSION_NUMBER)"),
        (socket.gaierror(-2, "x"), "the name turn.example.org cannot be resolved"),
        (ConnectionRefusedError(), "nothing listens at port 443/tcp"),
        (ConnectionResetError(), "the connection was cut off: a firewall, or no TURN server at this port"),
        (OSError(113, "No route to host"), "no connection: No route to host"),
        (ConnectionError("TURN allocation response is missing LIFETIME"), "no connection: TURN allocation response is missing LIFETIME"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)  # fmt: skip
def test_each_problem_has_its_words(problem: Exception, words: str) -> None:
    assert words_of(problem, URL, 5.0) == words


def test_only_refusals_have_a_code() -> None:
    assert code_of(refused(403)) == 403
    assert code_of(TimeoutError()) == 0
