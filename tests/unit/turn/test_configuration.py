"""What an operator may configure, and the sentence for everything else."""

import pytest

from turn.configuration import RelayConfiguration, problems

SECRET = "planted-3f9a1c7d5e2b4860"
TURN = ("turn:turn.example.org",)
SID = "AC" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "configuration",
    [
        RelayConfiguration(),
        RelayConfiguration(stun_urls=("stun:stun.example.org",)),
        RelayConfiguration(turn_urls=TURN, secrets=(SECRET, "another-3f9a1c7d5e2b"), realm="turn.example.org"),
        RelayConfiguration(turn_urls=("turn:a", "turn:a?transport=tcp", "turns:a:443"), username="u", password="p"),
        RelayConfiguration(
            stun_urls=("stun:a",), twilio_sid=SID, twilio_token="planted-token", api_url="https://egress.example:8443"
        ),
        RelayConfiguration(cloudflare_key=SID[2:], cloudflare_token="planted-token", api_url="http://127.0.0.1:8080"),
    ],
)
def test_what_makes_sense_has_no_problems(configuration: RelayConfiguration) -> None:
    assert list(problems(configuration)) == []


@pytest.mark.parametrize(
    "configuration, problem",
    [
        (RelayConfiguration(turn_urls=("turn://a",), secrets=(SECRET,)), "TURN_SERVER_URL: 'turn://a': write turn:host, without //"),
        (RelayConfiguration(turn_urls=("stun:a",), secrets=(SECRET,)), "TURN_SERVER_URL: 'stun:a:3478' belongs in STUN_SERVER_URL"),
        (RelayConfiguration(stun_urls=("turn:a",)), "STUN_SERVER_URL: 'turn:a:3478?transport=udp' belongs in TURN_SERVER_URL"),
        (RelayConfiguration(turn_urls=("turn:a", "turn:a:3478?transport=udp"), secrets=(SECRET,)), "TURN_SERVER_URL: 'turn:a:3478?transport=udp' is there twice"),
        (RelayConfiguration(stun_urls=tuple(f"stun:s{n}" for n in range(9))), "STUN_SERVER_URL: more than 8 addresses; each costs every call an allocation and time"),
        (RelayConfiguration(turn_urls=TURN, username="u"), "TURN_USERNAME and TURN_PASSWORD: set both or none"),
        (RelayConfiguration(turn_urls=TURN, password="planted"), "TURN_USERNAME and TURN_PASSWORD: set both or none"),
        (RelayConfiguration(turn_urls=TURN, username="ü" * 255, password="planted"), "TURN_USERNAME: longer than 509 bytes"),
        (RelayConfiguration(turn_urls=TURN, username="u", password="planted", secrets=(SECRET,)), "TURN_PASSWORD and TURN_SECRETS are both set; a relay takes one kind of credentials"),
        (RelayConfiguration(turn_urls=TURN), "TURN_SERVER_URL: a relay needs TURN_SECRETS, or TURN_USERNAME and TURN_PASSWORD"),
        (RelayConfiguration(secrets=(SECRET,)), "TURN_SERVER_URL: is missing, but there are credentials for it"),
        (RelayConfiguration(turn_urls=TURN, secrets=(SECRET, SECRET)), "TURN_SECRETS: one is there twice"),
        (RelayConfiguration(turn_urls=TURN, secrets=tuple(f"{SECRET}{n}" for n in range(9))), "TURN_SECRETS: more than 8"),
        (RelayConfiguration(turn_urls=TURN, secrets=(SECRET, "planted")), "TURN_SECRETS: number 2 has not 16 to 255 characters"),
        (RelayConfiguration(turn_urls=TURN, secrets=("planted-" * 32,)), "TURN_SECRETS: number 1 has not 16 to 255 characters"),
        (RelayConfiguration(turn_urls=TURN, secrets=('planted "quoted" secret',)), "TURN_SECRETS: number 1 holds a character that coturn's files cannot carry"),
        (RelayConfiguration(turn_urls=TURN, secrets=("planted-geheimnis-ü",)), "TURN_SECRETS: number 1 holds a character that coturn's files cannot carry"),
        (RelayConfiguration(twilio_sid=SID), "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: set both or none"),
        (RelayConfiguration(cloudflare_token="planted-token"), "CLOUDFLARE_TURN_KEY_ID and CLOUDFLARE_TURN_API_TOKEN: set both or none"),
        (RelayConfiguration(twilio_sid="AC/../x", twilio_token="planted-token"), "TWILIO_ACCOUNT_SID: is not AC and 32 hexadecimal digits"),
        (RelayConfiguration(cloudflare_key="../x", cloudflare_token="planted-token"), "CLOUDFLARE_TURN_KEY_ID: is not 32 hexadecimal digits"),
        (RelayConfiguration(twilio_sid=SID, twilio_token="planted\r\ntoken"), "TWILIO_AUTH_TOKEN, CLOUDFLARE_TURN_API_TOKEN: one holds a character that a header cannot carry"),
        (RelayConfiguration(turn_urls=TURN, secrets=(SECRET,), twilio_sid=SID, twilio_token="planted-token"), "TURN_SERVER_URL, TWILIO_ACCOUNT_SID and CLOUDFLARE_TURN_KEY_ID: choose one"),
        (RelayConfiguration(twilio_sid=SID, twilio_token="planted-token", api_url="http://egress.example"), "TURN_API_URL: write https://host or https://host:port (http only on 127.0.0.1)"),
        (RelayConfiguration(api_url="https://egress.example"), "TURN_API_URL: is for TWILIO_ACCOUNT_SID or CLOUDFLARE_TURN_KEY_ID"),
        (RelayConfiguration(realm="turn example"), "TURN_REALM: write a name like turn.example.org (letters, digits, dots and dashes)"),
    ],
)  # fmt: skip
def test_what_makes_none_is_told_without_secrets(configuration: RelayConfiguration, problem: str) -> None:
    assert list(problems(configuration)) == [problem]
    assert "planted" not in problem
    assert "planted" not in repr(configuration)
