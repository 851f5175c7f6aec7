"""The coturn of the tests: it starts, answers, and tells what it printed when it does not."""

from pathlib import Path

import pytest

from tests.support.private_coturn import private_coturn
from tests.support.programs import ProgramError


def test_it_is_ready_and_ends(tmp_path: Path) -> None:
    with private_coturn(tmp_path) as coturn:
        assert coturn.process.poll() is None
        assert coturn.udp == f"turn:127.0.0.1:{coturn.port}?transport=udp"
        assert "Relay ports initialization done" in coturn.output()
        coturn.stop()
    assert coturn.process.poll() is not None


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="unrecognized option"), private_coturn(tmp_path, "--no-such"):
        raise AssertionError("it started")
