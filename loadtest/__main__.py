"""`python -m loadtest run | race | compare | agent | learn | scenarios`: load a server, and see whether it keeps what it promises.

Ends with 0 when all promises and budgets were kept, 1 when one was broken, 2 when it could not be run, 3 when the load tester
itself was too slow for its figures to mean anything.
"""

import argparse
import os
import resource
import shlex
import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from msgspec import structs

from deploy.cluster.programs import ClusterError
from loadtest.agent import serve
from loadtest.api import ApiError
from loadtest.board import Board
from loadtest.compare import compare
from loadtest.coordinator import NobodyCame, Plan, conduct
from loadtest.judging import BadBudget, check_budgets, parse_budgets
from loadtest.learn import learn, read_log
from loadtest.learn import render as render_profile
from loadtest.link import LinkRefused
from loadtest.processes import listeners
from loadtest.race import command as race
from loadtest.relay import COTURN, relays
from loadtest.report import write_report
from loadtest.result import BadResult, read_result, write_result
from loadtest.scenario import BadScenario, Scenario, load_scenario, names
from loadtest.team import READY, TOKEN_VARIABLE, AgentLost
from loadtest.texts import HEADING, render, second_line
from loadtest.tls import BadAuthority, port_of, trust
from loadtest.world import Access, api_url_of

API_KEY_VARIABLE = "LOADTEST_API_KEY"
RELAY_SECRET_VARIABLE = "LOADTEST_RELAY_SECRET"  # noqa: S105 - the name of a variable
TOKEN_SECRET_VARIABLE = "LOADTEST_TOKEN_SECRET"  # noqa: S105 - the name of a variable
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HEADING_EVERY = 20


class Unusable(Exception):
    """The command cannot be carried out as given; its text is for people."""


_PROBLEMS = (
    Unusable,
    BadScenario,
    BadBudget,
    BadResult,
    BadAuthority,
    AgentLost,
    NobodyCame,
    LinkRefused,
    ApiError,
    ClusterError,
    OSError,
    EOFError,
)


def main() -> int:
    """Do what the arguments say."""
    options = _options()
    _raise_file_limit()
    try:
        match options.command:
            case "run":
                return _run(options)
            case "race":
                return race.run(options)
            case "compare":
                print(compare(read_result(options.first), read_result(options.second)))
            case "agent":
                _agent(options)
            case "learn":
                logs = [read_log(path.read_text(errors="replace")) for path in options.logs]
                print(render_profile(learn(logs, options.source)), end="")
            case _:
                print("\n".join(f"{name:<12}{load_scenario(name).about}" for name in names()))
    except _PROBLEMS as problem:
        return _give_up(problem)
    except ExceptionGroup as problems:
        known, others = problems.split(_PROBLEMS)
        if known is None or others is not None:
            raise
        return _give_up(known.exceptions[0])
    return 0


def _give_up(problem: Exception) -> int:
    while isinstance(problem, ExceptionGroup):
        problem = problem.exceptions[0]
    print(f"loadtest: {_explained(problem)}", file=sys.stderr)
    return 2


def _explained(problem: Exception) -> str:
    """Return what is wrong, and what to do about it where that is not plain."""
    said = " ".join(str(problem).split()) or type(problem).__name__
    match problem:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not believed ({problem.verify_message}): --ca FILE names who signed it"
        case ssl.SSLError():
            return f"no TLS is spoken there ({problem.reason or said}): ws:// instead of wss://?"
        case ConnectionRefusedError():
            return f"nobody answers ({said}): is the server running, and --url its address?"
        case TimeoutError():
            return "it took too long: the server does not answer, or a process that makes load hangs"
        case EOFError():
            return "the server hung up in the middle of an answer: is --url the address of a Duologue server?"
        case ApiError(status=401 | 403):
            return f"{said}: {API_KEY_VARIABLE} is to be one of the server's API_KEYS"
        case _:
            return said


def _run(options: argparse.Namespace) -> int:
    plan = _plan(options, _scenario(options))
    with relays(options.relay, os.environ.get(RELAY_SECRET_VARIABLE, ""), plan.duration_s + 3600) as turn:
        result = uvloop.run(conduct(replace(plan, relays=turn)))
    print(render(result))
    folder = options.out / f"{result.name}-{result.started_at.replace(':', '')}"
    write_result(result, folder.with_suffix(".json"))
    write_report(result, folder.with_suffix(".html"))
    print(f"{folder.with_suffix('.html')}\n{folder.with_suffix('.json')}")
    return result.exit_code


def _plan(options: argparse.Namespace, scenario: Scenario) -> Plan:
    host, port = _address(options.url)
    key = os.environ.get(API_KEY_VARIABLE, "dev" if host in _LOOPBACK else "")
    if not key:
        raise Unusable(f"put the API key of your server into {API_KEY_VARIABLE}")
    if scenario.needs_log and options.log is None:
        raise Unusable(f"{options.name} needs --log FILE")
    if options.relay not in {"", COTURN} and not os.environ.get(RELAY_SECRET_VARIABLE):
        raise Unusable(f"put the secret of {options.relay} into {RELAY_SECRET_VARIABLE}")
    secret = os.environ.get(TOKEN_SECRET_VARIABLE, "")
    authority = options.ca.read_text() if options.ca else ""
    trust(options.url, authority)  # before anything is started
    access = Access(options.url, options.api or api_url_of(options.url), key, secret, authority)
    budgets = {**scenario.budgets, **parse_budgets(options.budget)}
    check_budgets(budgets)
    rate = options.rate or scenario.chat.messages_per_user_per_min * scenario.people.users / 60

    def find_pids() -> list[int]:
        return options.pid or (listeners(port) if host in _LOOPBACK else [])

    return Plan(
        Path(options.name).stem,
        scenario,
        access,
        scenario.people.users,
        scenario.duration_s,
        rate,
        budgets,
        shlex.join(["python", "-m", "loadtest", *sys.argv[1:]]),
        processes=options.processes,
        agents=options.agents.split(",") if options.agents else (),
        agent_token=os.environ.get(TOKEN_VARIABLE, ""),
        find_pids=find_pids,
        seed=options.seed,
        log=options.log.read_text(errors="replace") if options.log else "",
        restart=options.restart,
        second=_live(5 if options.quiet or not sys.stdout.isatty() else 1),
    )


def _address(url: str) -> tuple[str, int]:
    """Return host and port of where clients connect."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", port_of(parts)
    except ValueError:
        host, port = "", 0
    if parts.scheme not in {"ws", "wss"} or not host or not parts.path.strip("/"):
        raise Unusable(f"--url {url} is no address where clients connect, like ws://127.0.0.1:8000/ws")
    return host, port


def _scenario(options: argparse.Namespace) -> Scenario:
    """Return the scenario as the command line changes it."""
    scenario = load_scenario(options.name)
    people = structs.replace(
        scenario.people,
        users=options.users or scenario.people.users,
        connects_per_s=options.connects_per_s or scenario.people.connects_per_s,
    )
    promises = structs.replace(
        scenario.promises,
        late_after_s=options.late_after or scenario.promises.late_after_s,
        is_one_node=scenario.promises.is_one_node and options.nodes == 1,
    )
    if scenario.ceiling is not None and options.rate:
        scenario = structs.replace(scenario, ceiling=structs.replace(scenario.ceiling, from_per_s=options.rate))
    if options.users == 1:
        raise Unusable("one user has nobody to talk to: --users 2 at least")
    return structs.replace(
        scenario, people=people, promises=promises, duration_s=options.duration or scenario.duration_s
    )


def _live(every_s: int) -> Callable[[Board, int], None]:
    """Return what prints a line every so many seconds."""
    lines = 0

    def tell(board: Board, at_s: int) -> None:
        nonlocal lines
        if at_s % every_s:
            return
        if lines % _HEADING_EVERY == 0:
            print(HEADING)
        lines += 1
        print(second_line(board, at_s), flush=True)

    return tell


def _agent(options: argparse.Namespace) -> None:
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise Unusable(f"put a secret that the coordinator knows too into {TOKEN_VARIABLE}")
    uvloop.run(serve(options.host, options.port, token, once=options.once, ready=_say_ready))


def _say_ready(port: int) -> None:
    print(f"{READY}{port}", flush=True)


def _raise_file_limit() -> None:
    """Thousands of sockets need as many files; processes started from here inherit it."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _run_options(commands.add_parser("run", help="load a server and judge it"))
    race.add_options(commands.add_parser("race", help="ours and what teams would else pick, in one table"))
    both = commands.add_parser("compare", help="two results beside each other")
    both.add_argument("first", type=Path, metavar="A.json")
    both.add_argument("second", type=Path, metavar="B.json")
    agent = commands.add_parser(
        "agent", help=f"make load for a coordinator elsewhere; {TOKEN_VARIABLE} is the shared secret"
    )
    agent.add_argument("--host", default="127.0.0.1", help="address to listen on")
    agent.add_argument("--port", type=int, default=0)
    agent.add_argument("--once", action="store_true", help="end after the first coordinator")
    teach = commands.add_parser("learn", help="make a profile from chat logs")
    teach.add_argument("logs", type=Path, nargs="+", metavar="LOG")
    teach.add_argument("--source", default="", help="what the logs are; goes into the profile")
    commands.add_parser("scenarios", help="list ours")
    return parser.parse_args()


def _whole(text: str) -> int:
    """Read a number of things."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _positive(text: str) -> float:
    """Read a size that is above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("name", help=f"a scenario's file, or one of {', '.join(names())}")
    run.add_argument("--url", required=True, help="where clients connect, ws://…/ws")
    run.add_argument("--api", help=f"origin of the HTTP API, when it is another one; {API_KEY_VARIABLE} has the key")
    run.add_argument("--ca", type=Path, metavar="FILE", help="who signed the certificate behind wss://, in PEM")
    run.add_argument("--users", type=_whole)
    run.add_argument("--duration", type=_positive, metavar="S")
    run.add_argument(
        "--rate", type=_positive, metavar="N", help="messages offered a second, by all together (a search begins there)"
    )
    run.add_argument("--connects-per-s", type=_positive, metavar="N")
    run.add_argument("--processes", type=_whole, default=1, help="that make load here")
    run.add_argument("--agents", help=f"host:port,… that make load instead; {TOKEN_VARIABLE} is the shared secret")
    run.add_argument("--budget", action="append", default=[], metavar="NAME=N", help="like p99_ms=50; may be repeated")
    run.add_argument("--late-after", type=float, metavar="S", help="a delivery that takes longer is a broken promise")
    run.add_argument("--nodes", type=_whole, default=1, metavar="N", help="how many there are behind --url")
    run.add_argument(
        "--pid", type=int, action="append", help="the server's process (found by its port on this machine)"
    )
    run.add_argument("--restart", default="", metavar="COMMAND", help="what a scenario's restarts run")
    run.add_argument("--log", type=Path, help="chat log to replay")
    run.add_argument(
        "--relay",
        default="",
        help=f"of calls with media: coturn (started here), or turn:… with {RELAY_SECRET_VARIABLE}; else the server's own",
    )
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--out", type=Path, default=Path("build/loadtest"), help="folder of the result and the report")
    run.add_argument("--quiet", action="store_true", help="a line every five seconds")


if __name__ == "__main__":
    sys.exit(main())
