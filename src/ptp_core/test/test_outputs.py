# SPDX-License-Identifier: Apache-2.0
"""Outputs that cannot be made are one line; files that do not open are called what they are."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from ptp_core.data.demo_file import open_file
from ptp_core.data.files import check_file, check_new_folder, reserved_file, reserved_folder
from ptp_core.errors import DatasetError, InputError


def test_a_folder_is_tried_and_not_left_behind(tmp_path):
    check_new_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "c").mkdir()
    check_new_folder(tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("check", [check_new_folder, lambda path: check_file(path / "f")])
def test_a_file_in_the_way_is_named(tmp_path, check):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file: name another folder") as caught:
        check(tmp_path / "file" / "x")
    assert "\n" not in str(caught.value)


def test_a_place_that_takes_no_files_is_named():
    with pytest.raises(InputError, match=r"/proc/x: cannot be written to \(.+: name another"):
        check_new_folder(Path("/proc/x"))


def test_a_file_that_exists_or_is_being_made_is_refused(tmp_path):
    path = tmp_path / "new" / "d.h5"
    with reserved_file(path):
        with (
            pytest.raises(InputError, match="another process is making this file"),
            reserved_file(path),
        ):
            pass
        path.write_text("")
    with pytest.raises(InputError, match=r"d\.h5 exists"), reserved_file(path):
        pass
    assert os.listdir(path.parent) == ["d.h5"]


def test_a_folder_is_for_one_process_and_free_when_that_has_gone(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from ptp_core.data.files import reserved_folder\n"
        f"with reserved_folder(pathlib.Path({str(tmp_path)!r})):\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(InputError, match="another process is writing here: wait for it"),
            reserved_folder(tmp_path),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with reserved_folder(tmp_path):
        pass


def test_a_file_that_another_program_has_open_is_not_called_damaged(tmp_path):
    path = tmp_path / "d.h5"
    code = (
        f"import h5py, sys\nfile = h5py.File({str(path)!r}, 'w')\n"
        "print('open', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(DatasetError, match="another program has it open") as caught:
            open_file(path)
        assert "remove" not in str(caught.value)
    finally:
        other.kill()
        other.wait()


def test_what_the_system_says_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r"gone.h5: cannot be opened \(No such file"):
        open_file(tmp_path / "gone.h5")
    path = tmp_path / "d.h5"
    h5py.File(path, "w").close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(path, os.O_RDONLY))
        with pytest.raises(DatasetError, match=r"cannot be opened \(Too many open files\)"):
            open_file(path)
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "it is empty; remove it"), (b"no HDF5" * 99, "truncated or not HDF5 .*remove it")],
)
def test_only_a_damaged_file_may_be_removed(tmp_path, content, message):
    path = tmp_path / "d.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_file(path)
