"""Log lines: one per event, and no secret in any of them."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from server.telemetry import configure_logs, event
from server.telemetry.logs import LineFormatter
from tests.support.tokens import SECRET, sign

TOKEN = sign({"sub": "alice", "exp": 1_795_000_600})
PLANTED = "pl4nt3dV4lu3"


def line(event_name: str, *args: object, known: tuple[str, ...] = (), **fields: object) -> str:
    record = logging.LogRecord("server.test", logging.INFO, "path", 1, event_name, args, None)
    record.created = 1_795_000_000.25
    record.__dict__.update(event(**fields))
    return LineFormatter(known).format(record)


def test_a_line_says_when_what_and_with_which_fields() -> None:
    assert (
        line("session.closed", user="alice", code=4008, reason="slow reader")
        == "time=2026-11-18T11:06:40.250Z level=info logger=server.test"
        ' event=session.closed user=alice code=4008 reason="slow reader"'
    )


@pytest.mark.parametrize(
    "value", ["a\nlevel=error event=forged", "a\r\nb", "\x1b[2J", 'say "hi"', "\ud800", "\0", "", "a=b"], ids=ascii
)
def test_a_value_cannot_forge_a_line_or_fail_it(value: str) -> None:
    written = line("named", user=value)
    assert written.isprintable()
    assert written.count(" event=") == 1 + value.count(" event=")
    assert ' user="' in written


@pytest.mark.parametrize(
    "text",
    [
        "GET /ws?ticket={} HTTP/1.1",
        "GET /ws?access_token={}&x=1",
        "GET /ws?token={}",
        "Authorization: Bearer {}",
        "authorization=bearer {}",
        "{{'Authorization': 'Bearer {}'}}",
        "{{'token': '{}'}}",
        '{{"token":"{}","device":"phone"}}',
        '{{"token": "{}"}}',
        "api_key={}",
        "api-key: {}",
        "API_KEYS={}",
        "TOKEN_SECRETS: {}",
        "password={}",
        "Basic {}",
        "headers [(b'authorization', b'Bearer {}')]",
    ],
)
def test_what_follows_a_telling_name_is_blanked_in_messages_and_fields(text: str) -> None:
    for written in (line(text.format(PLANTED)), line("%s", text.format(PLANTED)), line("x", path=text.format(PLANTED))):
        assert PLANTED not in written
        assert "[redacted]" in written


def test_a_field_with_a_telling_name_is_blanked() -> None:
    assert line("x", token=PLANTED).endswith(" token=[redacted]")
    assert PLANTED not in line("x", ticket=f"{PLANTED} and more")


@pytest.mark.parametrize("text", ["{}", "refused {} from alice", "x={}", '"{}"'])
def test_a_token_is_blanked_wherever_it_stands(text: str) -> None:
    written = line(text.format(TOKEN), where=text.format(TOKEN))
    for part in TOKEN.split("."):
        assert part not in written


def test_the_nodes_own_secrets_are_blanked_and_short_ones_do_not_blank_words() -> None:
    written = line(f"developer says {SECRET}", known=(SECRET, "dev"))
    assert written.endswith('event="developer says [redacted]"')


def test_a_traceback_is_part_of_its_line_and_blanked_too() -> None:
    try:
        raise ValueError(f"bad token={PLANTED} in {TOKEN}")
    except ValueError:
        record = logging.LogRecord("server.test", logging.ERROR, "path", 1, "fault", (), sys.exc_info())
    written = LineFormatter().format(record)
    assert 'exception="Traceback' in written
    assert "\n" not in written
    assert PLANTED not in written
    assert TOKEN not in written


@pytest.mark.parametrize(
    "harmless",
    [
        "token_expired",
        "tokens_refused=3",
        "TOKEN_SECRETS and TOKEN_SECRETS_FILE are both set",
        "token refused: expired",
    ],
)
def test_words_about_tokens_stay(harmless: str) -> None:
    assert harmless in line(harmless.replace("%", "%%"))


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_all_loggers_write_this_form_from_the_level_on(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    configure_logs("warning", [SECRET], stream)
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("some.library").warning("loud %s", SECRET)
    assert stream.getvalue().endswith(' level=warning logger=some.library event="loud [redacted]"\n')
    assert stream.getvalue().count("\n") == 1


def test_lines_go_to_stderr(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    logging.getLogger("server").info("ready", extra=event(port=8000))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith(" event=ready port=8000\n")
