# SPDX-License-Identifier: Apache-2.0
"""The session folder: what counts, in which order, and what a kill in between leaves."""

import json
import shutil
import subprocess
import sys

import pytest

from ptp_core.episodes.session_store import INDEX_FILE, SESSION_FILE, Session
from ptp_core.errors import EpisodeError, InputError

AUDIT = {
    "episode_id": "e",
    "task": "A",
    "label": "success",
    "steps": 7,
    "end_reason": "judged",
    "sha256": "0" * 64,
}


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / "session", create={"ptp": "0.1"})


def confirm(session, **changes):
    recording = session.new_recording()
    recording.mkdir()
    (recording / "episode_0.mcap").write_bytes(b"bag")
    return session.confirm(recording, {**AUDIT, **changes})


def test_a_new_session_says_what_it_is_and_a_second_look_finds_the_same(session):
    content = json.loads((session.folder / SESSION_FILE).read_text())
    assert (content["format"], content["format_version"]) == ("ptp-episodes", 1)
    assert content["versions"] == {"ptp": "0.1"}
    again = Session(session.folder, create={"ptp": "9.9"})
    assert (again.session_id, again.versions) == (session.session_id, {"ptp": "0.1"})
    assert again.entries() == []


def test_episodes_are_numbered_as_they_are_confirmed(session):
    entries = [confirm(session, episode_id=f"e{i}") for i in range(3)]
    assert [entry.number for entry in entries] == [0, 1, 2]
    assert session.path(entries[2]).name == "episode_000002"
    assert (session.path(entries[2]) / "episode_0.mcap").read_bytes() == b"bag"
    assert session.audit(entries[2])["number"] == 2
    assert Session(session.folder).entries() == entries
    assert session.unfinished() == []
    assert not list(session.folder.rglob("*.partial"))


def test_a_dropped_episode_stays_and_its_number_is_not_used_again(session):
    confirm(session)
    confirm(session)
    assert session.drop(1).dropped
    shutil.rmtree(session.episodes / "episode_000001")
    assert confirm(session).number == 2
    assert [entry.dropped for entry in session.entries()] == [False, True, False]


def test_a_confirmed_folder_that_the_index_lacks_is_taken_in(session):
    confirm(session)
    before = (session.folder / INDEX_FILE).read_text()
    entry = confirm(session, episode_id="late")
    # A kill between the rename of the folder and that of the index.
    (session.folder / INDEX_FILE).write_text(before)
    assert Session(session.folder).entries()[1] == entry
    assert confirm(session).number == 2


def test_labels_survive_the_loss_of_the_index(session):
    confirm(session)
    confirm(session)
    session.label(0, "failure")
    session.drop(1)
    (session.folder / INDEX_FILE).unlink()
    entries = Session(session.folder).entries()
    assert [(e.label, e.dropped) for e in entries] == [("failure", False), ("success", True)]


def test_a_label_changes_and_changes_back(session):
    confirm(session)
    assert session.label(0, "unlabelled").label == "unlabelled"
    assert session.drop(0).dropped
    assert not session.drop(0, dropped=False).dropped
    with pytest.raises(InputError, match=r'"good".*unlabelled, success, failure'):
        session.label(0, "good")
    with pytest.raises(InputError, match="no episode 5; it has 1"):
        session.drop(5)


def test_labels_can_change_while_another_process_holds_the_recorder_lock(session):
    confirm(session)
    lock = session.lock()
    program = f"""
from ptp_core.episodes.session_store import Session
session = Session({str(session.folder)!r})
session.label(0, "failure")
try:
    session.lock()
except Exception as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "another recorder" in run.stdout and "stop it" in run.stdout, run.stderr
    assert session.entries()[0].label == "failure"
    lock.release()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_many_processes_change_the_index_and_no_change_is_lost(session):
    for _ in range(4):
        confirm(session)
    program = """
import sys
from ptp_core.episodes.session_store import Session
session = Session(sys.argv[1])
for _ in range(20):
    session.label(int(sys.argv[2]), "failure")
    session.label(int(sys.argv[2]), "unlabelled")
"""
    command = [sys.executable, "-c", program, str(session.folder)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert [entry.label for entry in session.entries()] == ["unlabelled"] * 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (SESSION_FILE, None, "no session of recorded episodes"),
        (SESSION_FILE, '{"format_version": 1', "damaged"),
        (SESSION_FILE, '{"format_version": 99}', "format version 99, this program reads 1"),
        (INDEX_FILE, "[]", "damaged"),
        (INDEX_FILE, '{"format_version": 1, "episodes": [{"number": 1}]}', "remove it"),
    ],
)
def test_a_folder_that_is_no_session_is_named(session, name, text, message):
    confirm(session)
    path = session.folder / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(EpisodeError, match=message) as error:
        Session(session.folder)
    assert "\n" not in str(error.value)


def test_a_folder_with_other_files_is_not_made_a_session(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(EpisodeError, match="holds other files"):
        Session(tmp_path, create={})
    with pytest.raises(EpisodeError, match="no session"):
        Session(tmp_path / "nothing")


def test_an_audit_without_what_the_index_needs_is_named(session):
    confirm(session)
    (session.folder / INDEX_FILE).unlink()
    (session.episodes / "episode_000000" / "audit.json").write_text('{"format_version": 1}')
    with pytest.raises(EpisodeError, match=r"audit.json: incomplete"):
        Session(session.folder)


def test_a_session_on_a_disk_that_cannot_be_written_is_named(session):
    (session.folder / ".index.lock").unlink()
    (session.folder / ".index.lock").mkdir()  # root may write anywhere else
    with pytest.raises(EpisodeError, match="cannot be written to"):
        Session(session.folder)
