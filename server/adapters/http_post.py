"""One POST to an address of the settings, in the thread that calls it: bounded in time and in size, no redirects."""

from collections.abc import Callable
from typing import Final
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from turn.managed import HttpAnswer, HttpRequest

ANSWER_MAX_BYTES: Final = 65_536


class AnswerRefused(OSError):
    """What came back is too much or too slow."""


def post(request: HttpRequest, limit_s: float, now: Callable[[], float]) -> HttpAnswer:
    """Send it and return the whole answer, whatever its status; raise `OSError`, `HTTPException` or `ValueError`."""
    until = now() + limit_s
    # S310: the settings take https, and http on loopback; the opener knows no other schemes.
    sent = Request(request.url, request.body, dict(request.headers), method="POST")  # noqa: S310
    body = b""
    with _opener().open(sent, timeout=limit_s) as answer:
        while chunk := answer.read1(ANSWER_MAX_BYTES):
            body += chunk
            if len(body) > ANSWER_MAX_BYTES:
                raise AnswerRefused(f"the answer is larger than {ANSWER_MAX_BYTES} bytes")
            # The socket's own time limit starts again with every byte.
            if now() > until:
                raise AnswerRefused(f"the answer is not whole after {limit_s:g} s")
        return HttpAnswer(answer.status, body)


def _opener() -> OpenerDirector:
    """Build an opener without a handler for errors: every status is an answer, also a redirect."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    return opener
