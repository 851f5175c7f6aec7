"""What the README shows: two requests, then a conversation typed into `python -m websockets`."""

import asyncio
import re
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT, Process

import msgspec

from loadtest.api import Api
from tests.support.people import People, texts_of
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import ROOT

ORIGIN = "http://127.0.0.1:8000"


def blocks_of(section: str) -> list[str]:
    """Return the code blocks of a section of the README."""
    text = (ROOT / "README.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)


async def curl(api: Api, command: str) -> dict[str, str]:
    """Do what a `curl` line of the README does."""
    words = shlex.split(command)
    options = {words[place]: words[place + 1] for place in range(1, len(words) - 1) if words[place] in ("-X", "-d")}
    assert words[0] == "curl"
    assert "Authorization: Bearer dev" in words
    assert words[-1].startswith(ORIGIN)
    target = words[-1].removeprefix(ORIGIN)
    answer = await api.call(options["-X"], target, msgspec.json.decode(options["-d"]))
    return msgspec.json.decode(answer.body, type=dict)


async def told(process: Process, words: bytes) -> bytes:
    """Read what the terminal shows until it shows `words`."""
    assert process.stdout is not None
    shown = b""
    async with asyncio.timeout(60):
        while words not in shown:
            more = await process.stdout.read(65_536)
            assert more, shown
            shown += more
    return shown


async def test_the_readme_works_by_hand() -> None:
    """No Origin, no subprotocol, nothing answered but control pings: welcomed, heard, and kept."""
    commands, typed = blocks_of("Speak to it by hand")
    *curls, client = commands.replace("\\\n", " ").strip().splitlines()
    assert client.split() == [".venv/bin/python", "-m", "websockets", "ws://127.0.0.1:8000/ws"]
    with private_server(PING_AFTER_S="0.2", PING_TIMEOUT_S="60") as server:
        api = Api(server.http_url, "dev")
        answers = [await curl(api, command) for command in curls]
        (token,) = [answer["token"] for answer in answers if "token" in answer]
        await converse(server, [line.replace("…", token) for line in typed.strip().splitlines()])
        assert texts_of(await api.log("m1")) == ["hello"]
        api.close()
        assert "Traceback" not in server.program.output()


async def converse(server: PrivateServer, lines: list[str]) -> None:
    """Type the lines of the README, each when the one before was answered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "websockets", server.ws_url, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    assert process.stdin is not None
    try:
        await told(process, b"Connected to")
        for line, expected in zip(lines, (b'"type":"welcome"', b'"seq":2'), strict=True):
            process.stdin.write(line.encode() + b"\n")
            await told(process, expected)
        # A ping of the server is answered by the library: after it there are answers still.
        process.stdin.write(b'{"type":"ping","id":"still there"}\n')
        await told(process, b'"still there"')
        process.stdin.close()
        await told(process, b"Connection closed: 1000 (OK)")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_page_is_served(people: People) -> None:
    """At the address that the server prints, with headers that keep it to itself."""
    answer = await people.api.exchange("GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
