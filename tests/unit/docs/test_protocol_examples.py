"""docs/protocol.md: every example runs, every table says what the code says."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from protocol import limits
from protocol.calls import CallAccept, CallIce, CallIceServers, CallJoin, CallResume, CallSeat, CallStart
from protocol.close_codes import MEANING, comes_back
from protocol.codec import Malformed, decode
from protocol.errors import CATALOGUE
from protocol.from_client import ClientMessage, History, JsonObject, Matches, MessageSend, PresenceWatch, Sync
from protocol.from_server import (
    Answer,
    Entry,
    Error,
    HistoryPage,
    Limits,
    MatchesPage,
    MatchSummary,
    Ok,
    Push,
    Sent,
    Synced,
    Timers,
    Watching,
    Welcome,
)
from protocol.schema import SUBPROTOCOL, protocol_document
from tests.support.programs import ROOT

TEXT: Final = (ROOT / "docs/protocol.md").read_text()
SCHEMA: Final = protocol_document()
CLIENT: Final[Mapping[object, type[Struct]]] = {kind.__struct_config__.tag: kind for kind in get_args(ClientMessage)}
PUSHES: Final[Mapping[object, type[Struct]]] = {kind.__struct_config__.tag: kind for kind in get_args(Push)}
ANSWERS: Final[Mapping[type[ClientMessage], type[Struct]]] = {
    MessageSend: Sent,
    History: HistoryPage,
    Sync: Synced,
    Matches: MatchesPage,
    PresenceWatch: Watching,
    CallStart: CallSeat,
    CallAccept: CallSeat,
    CallJoin: CallSeat,
    CallResume: CallSeat,
    CallIce: CallIceServers,
}


class Line(NamedTuple):
    """One message of an example: who says it, what, and where in the page."""

    speaker: str
    payload: bytes
    block: int
    number: int

    @property
    def fields(self) -> JsonObject:
        """Return the message as plain JSON."""
        return msgspec.json.decode(self.payload, type=dict[str, object])


def lines() -> list[Line]:
    """Return every message of every example block, its continuation lines joined."""
    found: list[Line] = []
    for block, example in enumerate(re.finditer(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)):
        first = TEXT.count("\n", 0, example.start(1)) + 1
        for message in re.finditer(r"^([<>]) (.*(?:\n +.*)*)\n", example[1], re.MULTILINE):
            number = first + example[1].count("\n", 0, message.start())
            found.append(Line(message[1], message[2].encode(), block, number))
    return found


LINES: Final = lines()
FROM_CLIENT: Final = [pytest.param(line, id=f"line-{line.number}") for line in LINES if line.speaker == ">"]
FROM_SERVER: Final = [pytest.param(line, id=f"line-{line.number}") for line in LINES if line.speaker == "<"]


def kind_of(answer: Line) -> type[Struct]:
    """Return the type that a server's line must have; that of an `ok` follows from the request with its id."""
    said = answer.fields
    if said["type"] == "welcome":
        return Welcome
    if said["type"] == "error":
        return Error
    if said["type"] != "ok":
        return PUSHES[said["type"]]
    asked = [line for line in LINES if line.block == answer.block and line.speaker == ">"]
    request = decode(next(line.payload for line in asked if line.fields.get("id") == said["id"]))
    return ANSWERS.get(type(request), Ok)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = TEXT.split(f"# {heading}\n", 1)[1]
    rows = re.search(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", section, re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def notation(kind: type[Struct]) -> set[str]:
    """Return a struct's fields as the tables write them."""
    return {
        f"`{each.encode_name}{'' if each.default is NODEFAULT and each.default_factory is NODEFAULT else '?'}`"
        for each in fields(kind)
    }


def test_no_line_of_an_example_is_overlooked() -> None:
    """Everything in a `json` block is a message of one side."""
    blocks = re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert sum(len(re.sub(r"^[<>] ", "", block, flags=re.MULTILINE).encode()) for block in blocks) == sum(
        len(line.payload) + 1 for line in LINES
    )


@pytest.mark.parametrize("line", FROM_CLIENT)
def test_what_the_client_says(line: Line) -> None:
    """It decodes to the type that it names, uses no field that does not exist, and keeps to the schema."""
    said = line.fields
    if said["type"] not in CLIENT:
        with pytest.raises(Malformed):
            decode(line.payload)
        return
    kind = CLIENT[said["type"]]
    assert set(said) - {"type"} <= {each.encode_name for each in fields(kind)}
    refusal = next((each for each in LINES if each.block == line.block and is_refusal_of(each, said)), None)
    if refusal is None:
        assert type(decode(line.payload)) is kind
        Draft202012Validator({"$ref": f"#/$defs/{kind.__name__}", "$defs": SCHEMA["$defs"]}).validate(said)


def is_refusal_of(line: Line, said: JsonObject) -> bool:
    """Tell whether the server's line refuses the request as malformed."""
    answer = line.fields
    return line.speaker == "<" and answer.get("id") == said.get("id") and answer.get("code") == "bad_request"


@pytest.mark.parametrize("line", FROM_SERVER)
def test_what_the_server_says(line: Line) -> None:
    """It keeps to the schema, and its struct has every field of the example and no other value."""
    kind, said = kind_of(line), line.fields
    Draft202012Validator({"$ref": f"#/$defs/{kind.__name__}", "$defs": SCHEMA["$defs"]}).validate(said)
    message = msgspec.json.decode(line.payload, type=kind)
    assert msgspec.json.decode(msgspec.json.encode(message)) == said


@pytest.mark.parametrize("line", FROM_SERVER)
def test_refusals_in_examples_are_real(line: Line) -> None:
    """The message of a malformed request is the one that the codec gives; other codes are of the catalogue."""
    answer = line.fields
    if answer["type"] != "error":
        return
    requests = [each for each in LINES if each.block == line.block and each.speaker == ">"]
    request = next(each for each in requests if each.fields.get("id") == answer["id"])
    if answer["code"] in ("bad_request", "unknown_type"):
        with pytest.raises(Malformed) as caught:
            decode(request.payload)
        assert (answer["code"], answer["message"]) == (caught.value.code, caught.value.message)
    assert answer["code"] in list(CATALOGUE)
    assert ("retry_after_ms" in answer) == CATALOGUE[msgspec.convert(answer, Error).code].temporary


def test_every_type_has_an_example() -> None:
    """Nobody has to guess what a message looks like."""
    assert {line.fields["type"] for line in LINES if line.speaker == ">"} >= set(CLIENT)
    shown = {kind_of(line) for line in LINES if line.speaker == "<"}
    assert shown == {*get_args(Answer), *get_args(Push)}


def test_the_table_of_requests_is_whole() -> None:
    """Fields and answers are those of the structs."""
    rows = {row[0].strip("`"): row for row in table("From the client")}
    assert set(rows) == set(CLIENT)
    for tag, kind in CLIENT.items():
        _, names, answer = rows[str(tag)]
        assert set(names.split()) == notation(kind)
        answered = Welcome if tag == "hello" else next((a for k, a in ANSWERS.items() if k is kind), Ok)
        told = set(re.findall(r"`[^`]+`", answer)) - {"`ok`", "`welcome`"}
        assert told == (set() if answered is Welcome else notation(answered) - {"`id`"})


def test_the_table_of_pushes_is_whole() -> None:
    """Fields are those of the structs, and the entries are marked."""
    rows = {row[0].strip("`"): row for row in table("From the server, unasked")}
    assert list(rows) == list(PUSHES)
    for tag, kind in PUSHES.items():
        _, names, entry = rows[str(tag)]
        assert set(names.split()) == notation(kind)
        assert (entry == "yes") == (kind in get_args(Entry))


def test_the_table_of_errors_is_the_catalogue() -> None:
    """Same codes, same order, same advice."""
    assert table("Errors") == [
        [f"`{code.value}`", str(facts.http_status), "yes" if facts.temporary else "no", facts.what_to_do]
        for code, facts in CATALOGUE.items()
    ]


def test_the_table_of_close_codes_is_the_catalogue() -> None:
    """Same codes, same order, same rule."""
    assert table("Close codes") == [
        [str(int(code)), f"`{code.name.lower()}`", meaning, "yes" if comes_back(code) else "no"]
        for code, meaning in MEANING.items()
    ]


def test_the_table_of_limits_is_whole() -> None:
    """Every constant is there with its value, and every field of `welcome.limits` has its line or is a rate."""
    rows = table("Limits")
    assert {row[0].strip("`"): row[1] for row in rows} == {
        name: str(value) for name, value in vars(limits).items() if name.isupper()
    }
    told = {row[2].strip("`") for row in rows} - {""}
    assert told | {"messages_per_s", "message_burst"} == {each.name for each in fields(Limits)}


def test_the_table_of_timers_is_whole() -> None:
    """Every field of `welcome.timers` is explained; the defaults are those of the example."""
    rows = {row[0].strip("`"): row[1] for row in table("Timers")}
    assert list(rows) == [each.name for each in fields(Timers)]
    welcome = next(line for line in LINES if line.fields["type"] == "welcome")
    example = msgspec.json.decode(welcome.payload, type=Welcome)
    assert rows == {name: str(value) for name, value in msgspec.to_builtins(example.timers).items()}
    assert rows["sync_delay_ms"] == str(limits.SYNC_DELAY_MS)


def test_the_limits_in_the_example_are_the_table_s() -> None:
    """`welcome` tells what the page tells."""
    welcome = next(line for line in LINES if line.fields["type"] == "welcome")
    told = msgspec.to_builtins(msgspec.json.decode(welcome.payload, type=Welcome).limits)
    for row in table("Limits"):
        if row[2]:
            assert str(told[row[2].strip("`")]) == row[1]


def test_the_minimal_client_is_the_file() -> None:
    """The quoted program is the one that is run against the server."""
    quoted = re.search(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert quoted is not None
    assert quoted[1] == (ROOT / "docs/examples/minimal_client.py").read_text()


def test_links_within_the_page_lead_somewhere() -> None:
    """Each `#anchor` is a heading, each file is there."""
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target[1:] in headings if target.startswith("#") else (ROOT / "docs" / target).exists(), target


def test_the_page_is_about_this_version() -> None:
    """The title is the subprotocol; a summary in `welcome` has the fields that a `match` push has."""
    assert TEXT.startswith(f"# The protocol `{SUBPROTOCOL}`\n")
    assert {each.name for each in fields(MatchSummary)} == {each.name for each in fields(PUSHES["match"])}
