# SPDX-License-Identifier: Apache-2.0
"""Peers that a node will not find, and what killed processes leave in shared memory."""

import mmap
import os
from pathlib import Path

import pytest

from ptp_ros.middleware import PEERS, SHM, left_behind, remove_left_behind, unheard_peers


def test_without_peers_there_is_nothing_to_say(monkeypatch):
    monkeypatch.delenv(PEERS, raising=False)
    assert unheard_peers() == []
    monkeypatch.setenv(PEERS, " ; ")
    assert unheard_peers() == []


def test_a_peer_behind_a_running_interface_is_well():
    assert unheard_peers("127.0.0.1;localhost") == []


def test_an_unknown_name_is_named():
    (line,) = unheard_peers("127.0.0.1;no such host")
    assert "the peer no such host is unknown" in line and PEERS in line


def test_a_peer_that_no_network_leads_to_is_named():
    (line,) = unheard_peers("255.255.255.255")  # broadcasting is refused: no route for this socket
    assert "the peer 255.255.255.255 will not be found" in line


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
        remove_left_behind()
        assert all(path.exists() for path in segment)
    assert remove_left_behind() >= len(segment)
    assert not any(path.exists() for path in segment)
