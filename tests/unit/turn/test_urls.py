"""Which addresses of STUN and TURN servers are taken, what they mean, and what the others are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turn.urls import IceUrl, UrlRefused, order, parse_ice_url


@pytest.mark.parametrize(
    "text, url",
    [
        ("stun:stun.example.org", "stun:stun.example.org:3478"),
        ("stun:stun.example.org:19302", "stun:stun.example.org:19302"),
        ("stuns:stun.example.org", "stuns:stun.example.org:5349"),
        ("turn:turn.example.org", "turn:turn.example.org:3478?transport=udp"),
        ("TURN:Turn.Example.ORG:80?Transport=TCP", "turn:turn.example.org:80?transport=tcp"),
        (" turns:turn.example.org:443 ", "turns:turn.example.org:443?transport=tcp"),
        ("turns:turn.example.org?transport=tcp", "turns:turn.example.org:5349?transport=tcp"),
        ("turn:192.0.2.7:1024", "turn:192.0.2.7:1024?transport=udp"),
        ("turn:[2001:DB8:0::7]:3478", "turn:[2001:db8::7]:3478?transport=udp"),
        ("turn:xn--mnchen-3ya.example", "turn:xn--mnchen-3ya.example:3478?transport=udp"),
        ("turn:localhost", "turn:localhost:3478?transport=udp"),
    ],
)
def test_an_address_is_spelt_out(text: str, url: str) -> None:
    parsed = parse_ice_url(text)
    assert parsed.text == url
    assert parse_ice_url(url) == parsed


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "'' is not like turn:"),
        ("turn.example.org", "is not like turn:"),
        ("https:turn.example.org", "is not like turn:"),
        ("turn:a:1:2", "'1:2' is no port"),
        ("turn:[::1", "is not like turn:"),
        ("turn:[::1]x", "is not like turn:"),
        ("turn://turn.example.org", "write turn:host, without //"),
        ("turn:alice:planted@turn.example.org", "do not belong in an address"),
        ("turn:", "'' is no host name"),
        ("turn:a..b", "'a..b' is no host name"),
        ("turn:-a.example", "is no host name"),
        ("turn:münchen.example", "is no host name"),
        ("turn:a b", "is no host name"),
        ("turn:under_score.example", "is no host name"),
        (f"turn:{'a.' * 127}b", "is no host name"),
        ("turn:300.1.2.3", "is no IP address"),
        ("turn:127.1", "is no IP address"),
        ("turn:[fe80::zz]", "is no IP address"),
        ("turn:[fe80::1%eth0]", "is no host name"),
        ("turn:a:0", "'0' is no port"),
        ("turn:a:65536", "'65536' is no port"),
        ("turn:a:", "'' is no port"),
        ("turn:a:３４７８", "is no port"),
        ("turn:a:53", "below 1024 but 80 and 443"),
        ("turns:a:853", "below 1024 but 80 and 443"),
        ("stun:a?transport=udp", "takes no ?transport="),
        ("turn:a?transport=sctp", "only ?transport=udp"),
        ("turn:a?", "only ?transport=udp"),
        ("turn:a?transport=udp&x=y", "only ?transport=udp"),
        ("turns:a?transport=udp", "is DTLS"),
        ("turn:a\n", ""),
        ("turn:a\x00", "is no host name"),
    ],
)
def test_what_a_browser_would_refuse_or_ignore_is_refused(text: str, reason: str) -> None:
    if not reason:  # what surrounds it does not count
        assert parse_ice_url(text) == parse_ice_url(text.strip())
        return
    with pytest.raises(UrlRefused) as caught:
        parse_ice_url(text)
    assert reason in str(caught.value)
    assert "planted" not in str(caught.value)


@given(st.text(max_size=300) | st.from_regex(r"(stun|turn)s?:[\[\]a-z0-9:.?=@/-]*", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_ice_url(text)
    except UrlRefused:
        return
    assert parse_ice_url(parsed.text) == parsed


def test_udp_comes_before_tcp_and_tls() -> None:
    texts = ["turns:a", "turn:a?transport=tcp", "turn:a", "stun:a"]
    assert [url.text.partition(":")[0] for url in sorted(map(parse_ice_url, texts), key=order)] == [
        "stun",
        "turn",
        "turn",
        "turns",
    ]
    assert (
        order(IceUrl("turn", "a", 1, "udp"))
        < order(IceUrl("turn", "a", 1, "tcp"))
        < order(IceUrl("turns", "a", 1, "tcp"))
    )
