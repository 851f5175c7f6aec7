"""The command line: `check` asks every relay of the settings everything, `config` writes a file for coturn.

Exit code 0: all is well. 1: something failed. 2: the settings or arguments cannot be used, and one line says why.
"""

import argparse
import asyncio
import os
import ssl
import sys
import time  # noqa: TID251 - a command of its own, not the server
from collections.abc import Callable, Sequence
from typing import Final

from protocol.ids import Micros
from turn.configuration import RelayConfiguration
from turn.coturn import render
from turn.managed import ProviderRefused
from turn.tool.coturn_options import OptionsRefused, add_arguments, options_from
from turn.tool.environment import EnvironmentRefused, configuration_from
from turn.tool.provider import relays_of

LIMIT_S: Final = 5.0
EXIT_FAILED: Final = 1
EXIT_UNUSABLE: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        configuration = configuration_from(os.environ)
        if given.command == "config":
            sys.stdout.write(render(options_from(given, configuration, os.environ)))
            return 0
        return _check(configuration, given)
    except (EnvironmentRefused, OptionsRefused) as refused:
        sys.stderr.write(f"turn: {refused}\n")
        return EXIT_UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m turn", description="Relays for calls; docs/operations.md, Calls through firewalls, has more."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="use every server of TURN_SERVER_URL and STUN_SERVER_URL, and say what is wrong"
    )
    check.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for each answer (5)")
    check.add_argument("--ca-file", metavar="FILE", help="certificates to trust beside the system's")
    add_arguments(commands.add_parser("config", help="write a turnserver.conf for coturn to standard output"))
    return parser


def _check(configuration: RelayConfiguration, given: argparse.Namespace) -> int:
    if not (configuration.turn_urls or configuration.stun_urls or configuration.account):
        raise EnvironmentRefused("TURN_SERVER_URL: is not set, so there is nothing to check")
    try:
        # Here, because a node's installation has no aioice, and `config` needs none.
        from turn.tool.check import Checker, Questions  # noqa: PLC0415
    except ImportError as missing:
        raise EnvironmentRefused(f"`check` needs the packages of requirements/loadtest.txt ({missing})") from None
    failures, tls = 0, _trust(given.ca_file)

    def say(level: str, text: str) -> None:
        nonlocal failures
        failures += level == "FAILED"
        sys.stdout.write(f"  {level:<8}{text}\n")
        sys.stdout.flush()

    for each in (configuration, *_of_provider(configuration, given.limit, say)):
        checker = Checker(Questions(each, lambda: Micros(time.time_ns() // 1000), tls, given.limit), say)
        for url in (*each.reflectors, *each.relays):
            sys.stdout.write(f"{url.text}\n")
            asyncio.run(checker.check(url))
    sys.stdout.write(f"{failures} failed\n" if failures else "All is well.\n")
    return EXIT_FAILED if failures else 0


def _of_provider(
    configuration: RelayConfiguration, limit_s: float, say: Callable[[str, str], None]
) -> tuple[RelayConfiguration, ...]:
    """Ask the provider, if there is one."""
    account = configuration.account
    if account is None:
        return ()
    sys.stdout.write(f"{type(account).__name__}\n")
    try:
        relays = relays_of(account, configuration.api_url, limit_s)
    except ProviderRefused as refused:
        say("FAILED", str(refused))
        return ()
    say("ok", f"gives {sum(len(each.turn_urls) for each in relays)} relays")
    return relays


def _trust(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentRefused(f"--ca-file: cannot use {ca_file}: {error.strerror or error}") from None
    return context
