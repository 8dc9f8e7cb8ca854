# SPDX-License-Identifier: Apache-2.0
"""The recorder as a process: what is left when it is killed, and that it goes on."""

import os
import signal
import subprocess
import sys

import pytest
from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import RecorderStatus
from rclpy.action import ActionClient

from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.recording import repair
from ptp_core.episodes.session_store import Session
from ptp_nodes.episodes.recorder_testing import ASK, RecorderTestNode, finish, get, record
from ptp_ros import topics

pytestmark = pytest.mark.process

MAIN = "import sys; from ptp_nodes.nodes.recorder_node import main; sys.exit(main())"


@pytest.fixture
def run(tmp_path):
    """Start the node as a stack does; it is gone when the test ends."""
    started = []

    def run():
        command = [sys.executable, "-c", MAIN, "--ros-args"]
        for name, value in (("folder", tmp_path / "session"), ("min_free", 0)):
            command += ["-p", f"{name}:={value}"]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def test_kill_9_loses_the_episode_being_written_and_no_other(graph, run, tmp_path):
    states = graph.collect(RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED)
    process = run()
    table = RecorderTestNode(graph)
    record(graph, episode_id="finished")
    table.run(10)
    finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=10)
    record(graph, episode_id="cut short")
    table.run(200, first=20)
    session = Session(tmp_path / "session")
    (left,) = session.unfinished()
    bag = left / "episode_0.mcap"
    graph.wait(lambda: bag.stat().st_size > 300_000, "the first chunks")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert [entry.episode_id for entry in session.entries()] == ["finished"]
    (back,) = repair(session, Definitions())
    assert back.entry.episode_id == "cut short" and back.entry.steps > 30
    seen = len(states)
    run()
    graph.wait(lambda: any(state.episodes == 2 for state in states[seen:]), "the new recorder")
    client = ActionClient(graph.client, RecordEpisode, topics.RECORD_EPISODE)
    graph.wait(client.server_is_ready, "its action")
    assert get(graph, 0).episode.episode_id == "finished"
    assert get(graph, 1).episode.count == back.entry.steps


def test_a_signal_ends_it_cleanly_and_leaves_the_recording_for_repair(graph, run, tmp_path):
    process = run()
    table = RecorderTestNode(graph)
    record(graph)
    table.run(10)
    session = Session(tmp_path / "session")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert len(session.unfinished()) == 1
    session.lock().release()
