"""`python -m server`: serve with the settings of the environment; `--dev` for development on this machine alone."""

import argparse
import logging
import os
import sys
from functools import partial

import uvloop

from server.adapters.clock import SystemClock
from server.adapters.jwks import JwksUnusable
from server.app import AddressUnusable, serve
from server.ports import BusUnusable, StoreUnusable
from server.settings import Settings, SettingsError, for_development, from_environment, misspelt
from server.telemetry import configure_logs, event
from server.workers import supervise

_log = logging.getLogger(__name__)

EXIT_UNUSABLE = 2
# The settings, the data or the address cannot be used; the line on stderr says which and why.


def main() -> int:
    """Run the server; return the exit code."""
    arguments = _parser().parse_args()
    clock = SystemClock()
    try:
        settings = _settings(arguments, clock)
        configure_logs(settings.log_level, _secrets(settings))
        for slip in misspelt(os.environ):
            _log.warning("settings.misspelt", extra=event(reason=slip))
        if arguments.command == "migrate":
            return _migrate(settings, clock)
        if settings.workers > 1:
            return supervise(settings, clock, partial(_announce, workers=settings.workers))
        uvloop.run(serve(settings, clock, _announce))
    except (SettingsError, StoreUnusable, BusUnusable, JwksUnusable, AddressUnusable) as problem:
        sys.stderr.write(f"duologue: cannot start: {_one_line(str(problem))}\n")
        return EXIT_UNUSABLE
    except KeyboardInterrupt:
        return 130
    return 0


def _one_line(text: str) -> str:
    """Escape what a path or an address may hold and a terminal or a log must not show."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m server", description="Serve realtime chat; docs/operations.md has more."
    )
    parser.add_argument("--dev", action="store_true", help="development mode: API key `dev`, on loopback only")
    parser.add_argument(
        "--workers",
        metavar="N",
        help="processes on one port, each a node of its own (needs PostgreSQL and Redis); instead of WORKERS",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "migrate"],
        default="serve",
        help="`migrate` makes or renews the tables at DATABASE_URL (PostgreSQL) and ends; serving does that too",
    )
    return parser


def _migrate(settings: Settings, clock: SystemClock) -> int:
    if not settings.is_postgresql:
        raise SettingsError(["DATABASE_URL: `migrate` is for postgresql://…; SQLite renews its tables at each start"])
    from server.adapters.postgres.store import migrate  # noqa: PLC0415 - its driver is for those who use it

    allow_unsafe = settings.database_durability == "waived"
    uvloop.run(migrate(settings.database_url, clock, allow_unsafe=allow_unsafe))
    sys.stderr.write("duologue: the tables are up to date\n")
    return 0


def _settings(arguments: argparse.Namespace, clock: SystemClock) -> Settings:
    environment = dict(os.environ)
    if arguments.workers is not None:
        # Read with the others, so that whatever is wrong is told at once.
        environment["WORKERS"] = arguments.workers or "none"
    if arguments.dev:
        return for_development(environment, lambda: clock.random_id() + clock.random_id())
    return from_environment(environment)


def _secrets(settings: Settings) -> tuple[str, ...]:
    of_relays = (settings.turn_password, settings.twilio_auth_token, settings.cloudflare_turn_api_token)
    known = (*settings.api_keys, *settings.token_secrets, *settings.turn_secrets, *of_relays)
    return tuple(secret.reveal() for secret in known)


def _announce(address: str, workers: int = 1) -> None:
    shared = f", shared by {workers} workers" if workers > 1 else ""
    sys.stderr.write(f"Duologue is ready: {address}{shared} (open it in two windows; Ctrl-C ends it)\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
