# SPDX-License-Identifier: Apache-2.0
"""What is said where pyarrow or PyAV is missing, or installed and unusable."""

import os
import subprocess
import sys

import pytest

ASK = """
from ptp_core.errors import InputError
from ptp_core.exchange.lerobot_layout import need_libraries
try:
    need_libraries()
except InputError as error:
    print(error)
"""
CURE = "run `make lerobot`, or, without a checkout, `pip install 'pyarrow>=21,<26' 'av>=15,<19'`"


def answer(folder, **modules):
    """What a Python says that finds these modules first: name -> its text."""
    for name, text in modules.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
        (folder / name / "parquet.py").touch()
    places = [str(folder), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("pyarrow", "av", "said"),
    [
        ("", "raise ModuleNotFoundError('No module named av')", "PyAV is not installed"),
        ("raise ModuleNotFoundError('No module named pyarrow')", "", "pyarrow is not installed"),
        (
            "raise ImportError('pyarrow requires NumPy 2.0 or newer\\nsecond line')",
            "",
            "pyarrow cannot be used (pyarrow requires NumPy 2.0 or newer)",
        ),
    ],
)
def test_one_line_names_the_library_and_the_cure(tmp_path, pyarrow, av, said):
    wanted = f"LeRobot's data sets need pyarrow and PyAV (0.26 GB), and {said}: {CURE}\n"
    assert answer(tmp_path, pyarrow=pyarrow, av=av) == wanted


def test_nothing_is_said_where_both_can_be_imported(tmp_path):
    assert answer(tmp_path, pyarrow="", av="") == ""
