"""The rules about the house itself: layers cover every package, locks agree and name no host."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ROOT

PACKAGES = ("protocol", "signaling", "turn", "server", "loadtest", "deploy")
PURE = ("protocol", "signaling", "turn", "server/core")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
CONTRACTS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def existing(folders: tuple[str, ...]) -> set[str]:
    """Return the import names of those of `folders` that are there."""
    return {folder.replace("/", ".") for folder in folders if (ROOT / folder / "__init__.py").exists()}


def pins(lock: Path) -> dict[str, str]:
    """Return the version of every package that `lock` names."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_import_linter_looks_at_every_package() -> None:
    """A package that the linter does not know keeps no rule."""
    assert set(CONTRACTS["root_packages"]) == existing(PACKAGES)


def test_everything_pure_is_under_the_purity_contract() -> None:
    """A pure package comes under its contract on the day it is made."""
    sources = next(set(each["source_modules"]) for each in CONTRACTS["contracts"] if "Input is" in each["name"])
    assert sources == existing(PURE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_name_hashes_and_no_host(lock: Path) -> None:
    """Every package has a hash, and whichever index is set up may serve it."""
    text = lock.read_text()
    assert "://" not in text
    assert "--index-url" not in text
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:])


def test_locks_agree() -> None:
    """What is tested is what runs."""
    tested = pins(ROOT / "requirements/test.txt")
    for name in ("run", "loadtest"):
        assert pins(ROOT / f"requirements/{name}.txt").items() <= tested.items()


def test_the_lock_of_the_web_tools_names_no_host() -> None:
    """npm's lock holds versions and hashes only."""
    assert '"resolved"' not in (ROOT / "web/package-lock.json").read_text()


def test_every_test_folder_is_a_package() -> None:
    """Two files of one name in two folders must not shadow each other."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
