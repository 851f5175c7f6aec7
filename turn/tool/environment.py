"""The settings of relays from environment variables: the same names, forms and files as the server reads."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from turn.configuration import DEFAULT_TTL_S, RelayConfiguration, problems

SECRET_FILE_MAX_BYTES: Final = 65_536
_SEPARATORS: Final = re.compile(r"[,\r\n]")


class EnvironmentRefused(Exception):
    """The settings cannot be used; the text is one line with everything that is wrong."""


def configuration_from(environment: Mapping[str, str]) -> RelayConfiguration:
    """Read the relays' settings, or raise `EnvironmentRefused`."""
    configuration = RelayConfiguration(
        turn_urls=_split(environment.get("TURN_SERVER_URL", "")),
        stun_urls=_split(environment.get("STUN_SERVER_URL", "")),
        username=environment.get("TURN_USERNAME", "").strip(),
        password=_secret("TURN_PASSWORD", environment),
        secrets=_split(_secret("TURN_SECRETS", environment)),
        realm=environment.get("TURN_REALM", "").strip(),
        ttl_s=_ttl_s(environment.get("TURN_TTL_S", "").strip()),
        twilio_sid=environment.get("TWILIO_ACCOUNT_SID", "").strip(),
        twilio_token=_secret("TWILIO_AUTH_TOKEN", environment),
        cloudflare_key=environment.get("CLOUDFLARE_TURN_KEY_ID", "").strip(),
        cloudflare_token=_secret("CLOUDFLARE_TURN_API_TOKEN", environment),
        api_url=environment.get("TURN_API_URL", "").strip(),
    )
    if found := tuple(problems(configuration)):
        raise EnvironmentRefused("; ".join(found))
    return configuration


def _ttl_s(text: str) -> int:
    if not text.isascii() or (text and not text.isdigit()):
        raise EnvironmentRefused("TURN_TTL_S: expected an integer")
    return int(text) if text else DEFAULT_TTL_S


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, _SEPARATORS.split(text)) if part)


def _secret(name: str, environment: Mapping[str, str]) -> str:
    file = environment.get(f"{name}_FILE", "").strip()
    text = environment.get(name, "").strip()
    if not file:
        return text
    if text:
        raise EnvironmentRefused(f"{name} and {name}_FILE are both set")
    try:
        with Path(file).open("rb") as opened:
            return opened.read(SECRET_FILE_MAX_BYTES).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        raise EnvironmentRefused(f"{name}_FILE: cannot read {file}") from None
