"""protocol/__main__.py: the command that renews docs/protocol.json."""

import runpy

import pytest

from protocol.schema import pretty


def test_it_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """…and nothing else, so that its output is the file."""
    runpy.run_module("protocol", run_name="__main__")
    assert capsys.readouterr().out == pretty()
