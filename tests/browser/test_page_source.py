"""What the page is made of: modules of our own, no way from a string to markup, nobody else's hosts."""

import re
from pathlib import Path

import pytest

from tests.support.programs import ROOT

WEB = ROOT / "web"
SHIPPED = sorted(
    path
    for path in WEB.rglob("*")
    if path.suffix in (".js", ".html", ".css", ".svg", ".webmanifest")
    and not {"node_modules", "tests"}.intersection(path.relative_to(WEB).parts)
)
# Every way that browsers know to make markup, code or styles of a string.
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|setHTML|createContextualFragment|DOMParser|\beval\(|new Function"
    r"|setAttribute\(\"style|\son[a-z]+=\"|<style|javascript:"
)
ELSEWHERE = re.compile(
    r"(?:https?:|wss?:)?//(?!www\.w3\.org/2000/svg|chat\.example)[a-z0-9-]+\.[a-z]{2,}", re.IGNORECASE
)


def test_there_is_a_page() -> None:
    """The patterns below look at something."""
    assert {"index.html", "app.js", "duologue.js", "style.css"} <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(WEB)))
def test_no_string_becomes_markup_and_no_other_host_is_asked(path: Path) -> None:
    """The content policy forbids it at run time; here it is found before."""
    text = path.read_text()
    assert MARKUP.findall(text) == []
    assert ELSEWHERE.findall(text) == []
