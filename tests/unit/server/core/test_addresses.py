"""Whose address counts: the right-most hop that no trusted proxy is; nobody else's word."""

from collections.abc import Sequence

import pytest

from server.core.addresses import HOPS_MAX, TrustedProxies, counted_as, parse

PROXIES = TrustedProxies(("10.0.0.0/8", "192.0.2.9", "2001:db8:ffff::/48", "::1"))


@pytest.mark.parametrize(
    "peer, header, client",
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", [" 198.51.100.1 , 203.0.113.7 "], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, 10.1.1.1, 192.0.2.9"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:51234"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::7]:51234"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", ["2001:DB8::7"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::1", ["203.0.113.7"], "203.0.113.7"),
        ("2001:db8:ffff::1", ["203.0.113.7"], "203.0.113.7"),
        # Everybody is a proxy: the farthest of them.
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # What cannot be read ends the chain where it came from.
        ("10.0.0.1", ["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7,"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.256"], "10.0.0.1"),
        ("10.0.0.1", ["x" * 10_000], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        # Nobody else is believed.
        ("203.0.113.8", ["203.0.113.7"], "203.0.113.8"),
        ("2001:db8::8", ["203.0.113.7"], "2001:db8::8"),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_the_right_most_hop_that_is_no_proxy(peer: str, header: Sequence[str], client: str) -> None:
    assert PROXIES.client(peer, header) == client


@pytest.mark.parametrize(
    "header, client",
    [
        (["for=203.0.113.7"], "203.0.113.7"),
        (['For="203.0.113.7:1234";proto=https;by=10.0.0.1'], "203.0.113.7"),
        (['proto=https; for="[2001:db8::7]:1234"'], "2001:db8::7"),
        (["for=198.51.100.1, for=203.0.113.7", "for=10.0.0.2"], "203.0.113.7"),
        (["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
        (["for=203.0.113.7, for=unknown"], "10.0.0.1"),
        (["for=203.0.113.7, for=_hidden"], "10.0.0.1"),
        (["for=203.0.113.7, proto=https"], "10.0.0.1"),
        (["notfor=203.0.113.7"], "10.0.0.1"),
        (['for="203.0.113.7'], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_where_there_is_no_x_forwarded_for(header: Sequence[str], client: str) -> None:
    assert PROXIES.client("10.0.0.1", (), header) == client
    assert PROXIES.client("10.0.0.1", ("198.51.100.200",), header) == "198.51.100.200"


def test_a_chain_longer_than_anybody_has_is_cut() -> None:
    assert PROXIES.client("10.0.0.1", [", ".join(["203.0.113.7"] + ["10.0.0.2"] * (HOPS_MAX - 1))]) == "203.0.113.7"
    assert PROXIES.client("10.0.0.1", [", ".join(["203.0.113.7"] + ["10.0.0.2"] * 5_000)]) == "10.0.0.2"


def test_without_proxies_nobody_is_trusted() -> None:
    nobody = TrustedProxies()
    assert not nobody
    assert not nobody.trusts("127.0.0.1")
    assert nobody.client("127.0.0.1", ["203.0.113.7"], ["for=203.0.113.7"]) == "127.0.0.1"
    assert PROXIES
    assert not PROXIES.trusts("no address")


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "proxy.example", "*", "10.0.0"])
def test_a_proxy_is_an_address_or_a_network(network: str) -> None:
    with pytest.raises(ValueError, match="network"):
        TrustedProxies((network,))


@pytest.mark.parametrize(
    "address, counted",
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002::/64"),
        ("2001:db8:1:2::ffff", "20010db800010002::/64"),
        ("2001:db8:1:3::ffff", "20010db800010003::/64"),
        ("fe80::1%eth0", "fe80000000000000::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_what_counts_as_one_client(address: str, counted: str) -> None:
    assert counted_as(address) == counted


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4:x", "[::1", "1.2.3.4, 5.6.7.8", "[1.2.3.4:80]", "01.2.3.4"]
)
def test_what_is_no_address(text: str) -> None:
    assert parse(text) is None
