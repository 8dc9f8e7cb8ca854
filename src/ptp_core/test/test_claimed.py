# SPDX-License-Identifier: Apache-2.0
"""A command empties folders that it made, and no other."""

import pytest

from ptp_core.data.files import MARKER, claim
from ptp_core.errors import InputError


def test_what_an_earlier_run_left_goes_and_the_rest_stays(tmp_path):
    folder = tmp_path / "new" / "soak"
    claim(folder, "ptp soak", ["practice"])
    (folder / "practice" / "epochs").mkdir(parents=True)
    (folder / "notes").write_text("mine")
    claim(folder, "ptp soak", ["practice", "log"])
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "notes"]


def test_a_folder_of_somebody_is_refused_and_left_as_it_is(tmp_path):
    work = tmp_path / "practice" / "epochs"
    work.mkdir(parents=True)
    with pytest.raises(InputError, match="holds practice and was not made by `ptp soak`"):
        claim(tmp_path, "ptp soak", ["practice"])
    assert work.is_dir() and not (tmp_path / MARKER).exists()


def test_a_folder_of_another_command_is_refused(tmp_path):
    claim(tmp_path, "ptp soak")
    (tmp_path / "robot").mkdir()
    with pytest.raises(InputError, match="another command than `ptp two-machines`"):
        claim(tmp_path, "ptp two-machines", ["robot"])
    assert (tmp_path / "robot").is_dir()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    folder = tmp_path / "out"
    claim(folder, "ptp soak")
    (folder / "practice").symlink_to(work)
    claim(folder, "ptp soak", ["practice"])
    assert work.is_dir() and not (folder / "practice").exists()


def test_a_damaged_marker_is_no_licence(tmp_path):
    (tmp_path / MARKER).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is damaged"):
        claim(tmp_path, "ptp soak", ["practice"])


def test_a_marker_without_end_is_not_read_whole(tmp_path):
    (tmp_path / MARKER).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is damaged"):
        claim(tmp_path, "ptp soak", ["practice"])
