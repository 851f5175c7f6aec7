"""deploy/compose.yaml says what this server understands: its settings, its ports, the times that it needs to end."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not locked for one test
from msgspec import structs

from deploy.cluster.parts import NGINX_CONF
from server.settings import Settings, from_environment
from server.settings.parse import meta_of
from tests.support.programs import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = {name: service for name, service in SERVICES.items() if service["image"] == "duologue"}
SETTINGS = {field.name.upper() for field in structs.fields(Settings) if meta_of(field) is not None}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# What closing and committing may take beyond the drain time.
SLACK_S = 15
GIVEN = "3f9b0c6d1e8a4752b6c0d9e1f2a38475"


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return what a container is told, with a secret for each that compose insists on."""
    return {name: re.sub(r"\$\{\w+:\?[^}]*\}", GIVEN, str(value)) for name, value in service["environment"].items()}


def settings_of(name: str) -> Settings:
    # The image brings some.
    image = dict(re.findall(r"^ +(HOST|PORT)=(\S+)", DOCKERFILE, re.MULTILINE))
    return from_environment(image | environment_of(NODES[name]))


def test_there_are_several_nodes() -> None:
    assert len(NODES) >= 2


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_told_settings_that_exist_and_that_it_starts_with(name: str) -> None:
    assert environment_of(NODES[name]).keys() <= SETTINGS
    settings = settings_of(name)
    assert settings.is_postgresql
    assert settings.redis_url
    assert settings.node_name == name
    assert not settings.development


def test_nodes_differ_in_their_name_only() -> None:
    told = [environment_of(node) | {"NODE_NAME": ""} for node in NODES.values()]
    assert all(each == told[0] for each in told)


def test_no_secret_is_in_the_file() -> None:
    """Without one compose refuses to start, and says how to make one."""
    secrets = {"TOKEN_SECRETS", "API_KEYS", "POSTGRES_PASSWORD", "DATABASE_URL"}
    for service in SERVICES.values():
        for name in secrets & service.get("environment", {}).keys():
            assert "openssl rand" in service["environment"][name]


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_given_the_time_that_it_needs_to_end(name: str) -> None:
    assert int(NODES[name]["stop_grace_period"].removesuffix("s")) >= settings_of(name).drain_s + SLACK_S


@pytest.mark.parametrize("name", NODES)
def test_the_proxy_knows_the_nodes_and_they_believe_it_alone(name: str) -> None:
    """By the address that it has, outside of what others are given."""
    assert f"server {name}:{settings_of(name).port} " in NGINX_CONF.read_text()
    (proxy,) = settings_of(name).trusted_proxies
    assert SERVICES["nginx"]["networks"]["inside"]["ipv4_address"] == proxy
    (network,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    assert ip_address(proxy) in ip_network(network["subnet"])
    assert ip_address(proxy) not in ip_network(network["ip_range"])


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    (mounted,) = SERVICES["nginx"]["volumes"]
    assert (ROOT / "deploy" / mounted.split(":")[0]).samefile(NGINX_CONF)


def test_images_have_tags_and_no_digest_that_nobody_saw() -> None:
    for service in SERVICES.values():
        assert "@" not in service["image"]
        assert service["image"] == "duologue" or re.fullmatch(r"[a-z]+:\w+", service["image"])
    assert "@sha256" not in DOCKERFILE


def test_whoever_is_waited_for_says_when_it_is_healthy() -> None:
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert waited_for - NODES.keys() <= {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert "HEALTHCHECK" in DOCKERFILE
