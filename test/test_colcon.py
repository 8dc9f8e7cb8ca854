# SPDX-License-Identifier: Apache-2.0
"""`colcon test` runs the tests of the packages and counts them."""

import os
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "ptp_description"


def colcon(folder, verb, *words):
    """Run one verb of colcon on one package, with all that it writes below ``folder``."""
    command = [sys.executable, "-m", "colcon", "--log-base", folder / "log", verb, *words]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_colcon_test_counts_the_tests_of_a_package(tmp_path):
    where = ("--base-paths", PACKAGE)
    bases = ("--build-base", tmp_path / "build", "--install-base", tmp_path / "install")
    colcon(tmp_path, "build", *where, *bases)
    colcon(tmp_path, "test", *where, *bases)
    told = colcon(tmp_path, "test-result", "--all", "--test-result-base", tmp_path / "build")
    tests, errors, failures = map(
        int, re.search(r"Summary: (\d+) tests, (\d+) errors, (\d+) failures", told).groups()
    )
    written = [path.read_text() for path in (PACKAGE / "test").glob("test_*.py")]
    assert tests >= sum(len(re.findall("^def test_", text, re.MULTILINE)) for text in written) > 5
    assert (errors, failures) == (0, 0)
