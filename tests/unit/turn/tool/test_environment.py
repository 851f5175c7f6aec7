"""The tool reads the relays' settings as the server does."""

from pathlib import Path

import pytest

from server.settings import from_environment
from tests.support.tokens import SECRET
from turn.tool.environment import EnvironmentRefused, configuration_from

TURN = "planted-3f9a1c7d5e2b"
OTHER = "another-3f9a1c7d5e2b"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"STUN_SERVER_URL": "stun:a,stun:b", "TURN_TTL_S": ""},
        {"TURN_SERVER_URL": " turn:a,\nturns:a:443 ,", "TURN_SECRETS": f"{TURN}, {OTHER}", "TURN_TTL_S": "600", "TURN_REALM": "r"},
        {"TURN_SERVER_URL": "turn:a", "TURN_USERNAME": "u", "TURN_PASSWORD": " p,q "},
        {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": TURN, "TURN_API_URL": "https://egress.example"},
        {"CLOUDFLARE_TURN_KEY_ID": "0" * 32, "CLOUDFLARE_TURN_API_TOKEN": TURN},
    ],
    ids=str,
)  # fmt: skip
def test_both_read_the_same(environment: dict[str, str]) -> None:
    assert configuration_from(environment) == from_environment({"TOKEN_SECRETS": SECRET, **environment}).relays


def test_secrets_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"\ufeff{TURN}\n{OTHER}\n", "utf-8")
    environment = {"TURN_SERVER_URL": "turn:a", "TURN_SECRETS_FILE": str(file)}
    assert configuration_from(environment).secrets == (TURN, OTHER)
    assert configuration_from(environment) == from_environment({"TOKEN_SECRETS": SECRET, **environment}).relays


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"TURN_TTL_S": "1h"}, "TURN_TTL_S: expected an integer"),
        ({"TURN_TTL_S": "٣٦٠٠"}, "TURN_TTL_S: expected an integer"),
        ({"TURN_SECRETS": TURN, "TURN_SECRETS_FILE": "x"}, "TURN_SECRETS and TURN_SECRETS_FILE are both set"),
        ({"TURN_PASSWORD_FILE": "/no/such"}, "TURN_PASSWORD_FILE: cannot read /no/such"),
        ({"TURN_SERVER_URL": "turn:a", "STUN_SERVER_URL": "b"}, "STUN_SERVER_URL: 'b' is not like turn:turn.example.org:3478?transport=udp; TURN_SERVER_URL: a relay needs TURN_SECRETS, or TURN_USERNAME and TURN_PASSWORD"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_one_line(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(EnvironmentRefused) as refused:
        configuration_from(environment)
    assert str(refused.value) == problem


def test_a_file_of_bytes_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(EnvironmentRefused, match="TURN_SECRETS_FILE: cannot read"):
        configuration_from({"TURN_SECRETS_FILE": str(tmp_path / "secrets")})
