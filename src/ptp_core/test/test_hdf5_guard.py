# SPDX-License-Identifier: Apache-2.0
"""HDF5 files that libhdf5 never ends with: another process finds out, and this one goes on."""

import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from ptp_core.data.dataset import Dataset
from ptp_core.data.demo_file import open_file, write_file
from ptp_core.data.hdf5_guard import SECONDS, Hdf5Checker, check_hdf5
from ptp_core.errors import DatasetError, InputError
from ptp_core.exchange.exchange_testing import DESCRIPTION, demonstration, write_robomimic
from ptp_core.exchange.robomimic_file import RobomimicFile


def endless(path):
    """Damage a file so that libhdf5 loops: the free space of its global heap has no size."""
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    while any(content[at : at + 2]):  # objects; the free space is number 0
        size = int.from_bytes(content[at + 8 : at + 16], "little")
        assert size
        at += 16 + -(-size // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(content)
    return path


@pytest.fixture
def one_second(monkeypatch):
    monkeypatch.setenv(SECONDS, "1")


def test_files_that_never_end_are_refused_in_one_line(tmp_path, one_second):
    write_file(tmp_path / "ours.h5", DESCRIPTION, [demonstration(0)])
    write_robomimic(tmp_path / "theirs.hdf5")
    why = r"did not end within 1 s of CPU time; .*get it again from its source; PTP_HDF5_SECONDS="
    with pytest.raises(DatasetError, match=rf"ours.h5: refused as a data set .*{why}") as caught:
        Dataset(endless(tmp_path / "ours.h5"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match=rf"theirs.hdf5: cannot be read .*{why}") as caught:
        list(RobomimicFile(endless(tmp_path / "theirs.hdf5")).episodes())
    assert "\n" not in str(caught.value)
    write_file(tmp_path / "sound.h5", DESCRIPTION, [demonstration(0)])
    assert len(Dataset(tmp_path / "sound.h5")) == 1


def test_a_file_is_read_first_each_time_it_has_changed(tmp_path):
    write_file(tmp_path / "ours.h5", DESCRIPTION, [demonstration(0)])
    check_hdf5(tmp_path / "ours.h5")
    with h5py.File(tmp_path / "ours.h5", "a") as file:
        file["data/demo_0/more"] = h5py.SoftLink("/data")
    with pytest.raises(ValueError, match="more leads to another file or place"):
        check_hdf5(tmp_path / "ours.h5")


def test_a_process_that_crashes_is_named_and_the_next_file_is_read(tmp_path):
    write_file(tmp_path / "ours.h5", DESCRIPTION, [demonstration(0)])
    checker = Hdf5Checker()
    checker.check(tmp_path / "ours.h5", 10)
    os.kill(checker._process.pid, signal.SIGSEGV)
    with pytest.raises(ValueError, match=r"crashed libhdf5 \(SIGSEGV\); the file is damaged"):
        checker.check(tmp_path / "ours.h5", 10)
    checker.check(tmp_path / "ours.h5", 10)
    checker.close()


def test_the_process_leaves_when_idle_and_is_started_again(tmp_path):
    write_file(tmp_path / "ours.h5", DESCRIPTION, [demonstration(0)])
    checker = Hdf5Checker(idle=0.1)
    checker.check(tmp_path / "ours.h5", 10)
    first = checker._process
    assert first.wait(timeout=60) == 0
    checker.check(tmp_path / "ours.h5", 10)
    assert checker._process is not first
    checker.close()


def test_a_fork_reads_files_through_a_process_of_its_own(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_file(tmp_path / name, DESCRIPTION, [demonstration(0)])
    check_hdf5(tmp_path / "a.h5")
    child = os.fork()
    if not child:
        try:
            check_hdf5(tmp_path / "b.h5")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    check_hdf5(tmp_path / "b.h5")


def test_large_data_of_every_layout_pass(tmp_path):
    with h5py.File(tmp_path / "large.h5", "w") as file:
        frames = np.zeros((70, 1000, 1000, 3), np.uint8)  # 200 MiB: several pieces
        file.create_dataset("packed", data=frames, chunks=(3, 1000, 1000, 3), compression="lzf")
        file["plain"] = frames
        file["one"], file["none"], file["empty"] = 3.0, h5py.Empty("f"), np.zeros((0, 3))
        file["words"] = ["a", "b"]
        file.attrs["none"] = h5py.Empty("f")
    check_hdf5(tmp_path / "large.h5")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="pipe: cannot be opened"):
        open_file(tmp_path / "pipe")


@pytest.mark.parametrize("text", ["0", "1.5", "", "long"])
def test_a_wrong_time_is_named(tmp_path, monkeypatch, text):
    write_file(tmp_path / "ours.h5", DESCRIPTION, [demonstration(0)])
    monkeypatch.setenv(SECONDS, text)
    with pytest.raises(InputError, match=f"PTP_HDF5_SECONDS is {text}: give whole seconds"):
        Dataset(tmp_path / "ours.h5")


def test_the_process_does_not_import_torch():
    code = "import ptp_core.data.hdf5_check, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
