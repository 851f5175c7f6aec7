"""Asks a provider for a list once, as the server does, so that its relays can be checked like one's own."""

from http.client import HTTPException
from typing import Final
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from turn.configuration import RelayConfiguration
from turn.managed import Account, HttpAnswer, ProviderRefused, grant_of, request_for

ANSWER_MAX_BYTES: Final = 65_536


def relays_of(account: Account, api_url: str, limit_s: float) -> tuple[RelayConfiguration, ...]:
    """Return what the provider gives, a configuration for each server; raise `ProviderRefused`."""
    request = request_for(account, api_url)
    # S310: the settings take https, and http on loopback; the opener knows no other schemes.
    sent = Request(request.url, request.body, dict(request.headers), method="POST")  # noqa: S310
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    try:
        with opener.open(sent, timeout=limit_s) as answer:
            grant = grant_of(account, HttpAnswer(answer.status, answer.read(ANSWER_MAX_BYTES)))
    except (OSError, HTTPException) as error:
        raise ProviderRefused(f"no answer: {error}") from None
    return tuple(
        RelayConfiguration(turn_urls=server.urls, username=server.username, password=server.credential)
        if server.username
        else RelayConfiguration(stun_urls=server.urls)
        for server in grant.servers
    )
