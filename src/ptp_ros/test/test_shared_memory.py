# SPDX-License-Identifier: Apache-2.0
"""What killed processes leave in shared memory is told from what is in use, and swept away."""

import mmap
import os
from pathlib import Path

import pytest

from ptp_ros.shared_memory import SHM, left_behind, sweep


@pytest.fixture
def segment():
    path = SHM / f"fastrtps_0123456789{os.getpid():06x}"
    files = [path, Path(f"{path}_el"), SHM / f"sem.{path.name}_mutex"]
    for file in files:
        file.write_bytes(b"\0" * 4096)
        os.utime(file, (0, 0))
    yield files
    for file in files:
        file.unlink(missing_ok=True)


def test_what_no_process_has_open_is_left_behind(segment):
    assert set(segment) <= set(left_behind())
    with open(segment[0], "r+b") as file, mmap.mmap(file.fileno(), 0):
        assert not set(segment) & set(left_behind())
    os.utime(segment[0])  # just made: its process may be about to open it
    assert segment[0] not in left_behind()


def test_a_sweep_takes_what_is_left_behind_and_nothing_else(segment):
    with open(segment[0], "r+b") as file, mmap.mmap(file.fileno(), 0):
        sweep()
        assert all(path.exists() for path in segment)
    assert sweep() >= len(segment)
    assert not any(path.exists() for path in segment)
