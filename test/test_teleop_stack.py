# SPDX-License-Identifier: Apache-2.0
"""The teleop stack with real processes: demonstrations end on the disk as they were made."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, Latent, Observation
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from ptp_bringup.running_stack import nodes_of_this_domain
from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import Graph
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    JOY,
    LATCHED,
    LATENT,
    OBSERVATION,
    RECORDS,
    TELEOP_COMMAND,
)

pytestmark = pytest.mark.process

A, B, X, Y, LB = range(5)
NODES = {"sim_bridge", "encoder", "recorder", "teleop"}


def episodes(folder):
    """Confirmed episodes of a session, from their bags."""
    session = Session(folder)
    return [(entry, read_confirmed(session, entry, Definitions())) for entry in session.entries()]


def test_the_scripted_gamepad_demonstrates_records_and_ends_the_stack(up, checkpoint, tmp_path):
    run = up(
        *("teleop", "source:=script", "mode:=lock_step", "rate:=30", "speed:=1.0", "task:=A,C"),
        *("episodes:=3", "view:=false", f"checkpoint:={checkpoint}", f"record:={tmp_path}"),
    )
    assert run.end() == 0, run.text
    assert "scripted_gamepad has finished; stopping the others" in run.text
    assert "Traceback" not in run.text
    assert nodes_of_this_domain() == {}
    found = [(entry, episode) for entry, episode in episodes(tmp_path) if entry.label == "success"]
    assert [entry.task for entry, _ in found] == ["A", "A", "C"]
    for entry, episode in found:
        assert entry.breaks <= 1  # a busy machine may lose a latent; it is marked
        assert 20 <= episode.count <= 150
        assert episode.latents.shape[0] == episode.count + 1
        assert set(episode.sources) == {CartesianDelta.TELEOP}
        assert np.abs(episode.actions[:, :3]).max() == 1.0


class Person:
    """Holds a real gamepad's place on the graph of the running stack."""

    def __init__(self, graph):
        self.graph = graph
        self.seen = graph.collect(Observation, OBSERVATION, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.commands = graph.collect(CartesianDelta, TELEOP_COMMAND, COMMANDS)
        self.joy = graph.client.create_publisher(Joy, JOY, qos_profile_sensor_data)

    def hold(self, *buttons, forward=0.0):
        axes = [0.0, forward, 0.0, 0.0, 0.0, 0.0]
        self.joy.publish(Joy(axes=axes, buttons=[int(n in buttons) for n in range(8)]))

    def press_until(self, button, run, text):
        """Press and let go until the stack says ``text``: a sensor's messages may get lost."""
        for _ in range(4):
            for pressed in ([], [button], []):
                for _ in range(3):
                    self.hold(*pressed)
                    time.sleep(0.03)
            with contextlib.suppress(AssertionError):
                return run.expect(text, timeout=5.0)
        return run.expect(text)


def test_a_person_demonstrates_in_real_time_and_everything_of_it_is_there(
    up, checkpoint, tmp_path
):
    run = up(
        *("teleop", "rate:=10", "speed:=0.5", "view:=false", "record_images:=false"),
        *(f"checkpoint:={checkpoint}", f"record:={tmp_path}"),
    )
    run.expect("scene: task A (varied), seed 0")
    assert set(nodes_of_this_domain().values()) == NODES
    with Graph() as graph:
        person = Person(graph)
        graph.wait(lambda: len(person.seen) > 3, "pictures")
        graph.wait(person.joy.get_subscription_count, "the teleop node")
        latents = graph.collect(Latent, LATENT, LATCHED)
        graph.wait(lambda: latents and latents[-1].seq > person.seen[-1].seq - 3, "latents")
        person.press_until(Y, run, "recording")
        begin = person.seen[-1].seq

        def moving():
            person.hold(LB, A, forward=-0.6)
            return sum(state.moved for state in person.states) >= 8

        graph.wait(moving, "eight steps")
        person.hold()
        graph.wait(lambda: not person.commands[-1].dead_man, "the hold")
        person.press_until(A, run, "saved as success")
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    ((entry, episode),) = episodes(tmp_path)
    moved = [s for s in person.states if s.moved and s.observation_seq > begin]
    accepted = {state.observation_seq: state for state in moved}
    recorded = dict(zip(episode.observation_seqs[1:].tolist(), episode.actions, strict=True))
    assert set(recorded) <= set(accepted)
    for seq, action in recorded.items():
        assert np.array_equal(action, ActionScale().to_action(accepted[seq].command))
    # A busy machine may skip a latent; the step after it is marked then, if there is one.
    missing = accepted.keys() - recorded.keys()
    assert len(missing) <= 2
    assert not missing or episode.breaks.any() or max(missing) > max(recorded)
    assert (entry.task, entry.label, entry.steps) == ("A", "success", len(recorded))
    assert episode.actions[:, 0] == pytest.approx(-0.5 * (0.6 - 0.1) / 0.9, abs=1e-6)
    assert (episode.actions[:, 4] == 1.0).all()


def test_keys_of_the_terminal_that_ptp_up_runs_in_move_the_arm(checkpoint, tmp_path):
    master, slave = pty.openpty()
    words = ["teleop", "source:=keyboard", "mode:=lock_step", "view:=false", "rate:=30"]
    words += [f"checkpoint:={checkpoint}", f"record:={tmp_path}"]
    with Graph() as graph:
        person = Person(graph)
        process = subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", "up", *words],
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            graph.wait(lambda: person.seen, "the first picture")

            def moved():
                os.write(master, b"s")
                return any(state.moved for state in person.states)

            graph.wait(moved, "a motion")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    assert next(s for s in person.states if s.moved).command.dx < 0
    os.close(master)
    os.close(slave)
