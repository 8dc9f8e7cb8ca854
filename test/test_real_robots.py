# SPDX-License-Identifier: Apache-2.0
"""docs/real_robot.md walked: each stand-in for a robot, preflight, enabling, faults.

Nothing here looks at how fast something happens. A busy machine may delay the arm driver, which
is a fault of its own: then the test does as a person does, it clears it and goes on.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, Latent, Observation

from ptp_bringup.running_stack import nodes_of_this_domain
from ptp_cli.main import main
from ptp_robot.driver_core import ArmDriverState
from ptp_ros.graph_testing import Graph
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    DRIVER_STATE,
    LATCHED,
    LATENT,
    OBSERVATION,
    RECORDS,
    TELEOP_COMMAND,
)

ENABLED = (
    ArmDriverState.READY,
    ArmDriverState.ACTIVE,
    ArmDriverState.HOLD,
    ArmDriverState.INTERVENTION,
)
PATIENCE = 60.0  # s; only a failing test waits this long
TRIES = 10
FLOOR = -0.3  # m, the lower end of the box in these tests
SETTINGS = """
limits:
  box_lower: [0.5, -0.2, -0.3]
  overrun: 0.2          # s: the most there is; this machine may be busy
  joints_timeout: 0.2
  command_age: 0.5
  command_timeout: 0.5
"""
QUIET = ("record:=none", "viewer:=false", "rate:=5")

# Whole stacks; an idle machine needs a quarter. Each wait has its own limit, but a machine that is
# too busy for the arm driver makes a test wait for hundreds of seconds in all. A signal ends the
# test alone, not the run, and its traceback shows where it waited.
pytestmark = [pytest.mark.process, pytest.mark.timeout(180, method="signal")]
FOUR_FAULTS = pytest.mark.timeout(360, method="signal")


class Fake:
    """A fake robot in a process of its own, at which faults are typed."""

    def __init__(self, *words):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.greeting = self.expect("fake")
        self.expect("quit")

    def expect(self, text):
        """The next line with this text; it answers whatever is typed."""
        return next(line for line in self._process.stdout if text in line)

    def type(self, words, answer):
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return self.expect(answer)

    def joints(self):
        """Where the arm really is, rounded to 1 mrad."""
        line = self.type("show", "joints [")
        return np.array(line.partition("[")[2].partition("]")[0].split(","), dtype=float)

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process.stdin.close()


class Person:
    """Sits beside the stack with a dead-man switch, and sees what the driver says."""

    def __init__(self, graph, run):
        self.graph, self.run = graph, run
        self.pictures = graph.collect(Observation, OBSERVATION, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.driver = graph.collect(DriverState, DRIVER_STATE, LATCHED)
        self.commands = graph.publisher(CartesianDelta, TELEOP_COMMAND, COMMANDS)
        self.count = self.answered = 0
        latents = graph.collect(Latent, LATENT, LATCHED)
        graph.wait(lambda: self.driver and self.pictures and latents, "a stack that runs")

    @property
    def state(self):
        return ArmDriverState(self.driver[-1].state)

    @property
    def place(self):
        """The tool, m."""
        point = self.states[-1].pose.position
        return np.array([point.x, point.y, point.z])

    def moved_by_policies(self):
        """How many pictures followed a motion that a policy asked for."""
        policy = CartesianDelta.POLICY
        return sum(state.moved and state.command.source == policy for state in self.states)

    def push(self, **motion):
        """Answer the newest picture, once."""
        seen = self.pictures[-1].seq
        if seen == self.answered:
            return
        self.answered, self.count = seen, self.count + 1
        message = CartesianDelta(source=CartesianDelta.TELEOP, dead_man=True, seq=self.count)
        message.observation_seq, message.header.frame_id = seen, "base"
        message.header.stamp = self.graph.client.get_clock().now().to_msg()
        for name, value in motion.items():
            setattr(message, name, value)
        self.commands.publish(message)

    def push_until(self, condition, what, **motion):
        """Push at each picture."""

        def done():
            self.push(**(motion or {"dy": self.aside()}))
            return condition()

        self.graph.wait(done, what)

    def push_in_vain(self, **motion):
        """Push for some pictures."""
        last = self.count + 4
        self.push_until(lambda: self.count >= last, "pictures", **motion)

    def hear(self):
        """Wait for news of the driver: what `ask` heard may come here later."""
        told = len(self.driver) + 2
        self.graph.wait(lambda: len(self.driver) >= told, "news of the driver")

    def enable(self):
        """Clear what there is to clear, and enable."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            # Refused while the link to a robot that was lost comes back.
            cleared = self.state is not ArmDriverState.FAULT or ask("clear-fault") == 0
            if cleared and ask("enable") == 0:
                self.hear()
                return
        raise AssertionError(f"not enabled: {self.state.name}, {self.driver[-1].reason}")

    def drive(self, condition, **motion):
        """Push until ``condition``, again where the driver was late."""
        for _ in range(TRIES):
            self.push_until(
                lambda: condition() or self.state is ArmDriverState.FAULT, "a motion", **motion
            )
            if condition():
                return
            self.enable()
        faults = {state.reason for state in self.driver if state.state == ArmDriverState.FAULT}
        raise AssertionError(f"{motion} does not move the arm: {faults}")

    def aside(self):
        """A motion towards the middle of the box, m."""
        return -0.02 if self.place[1] > 0.0 else 0.02

    def moves(self):
        """The arm goes aside and back."""
        aside = self.aside()
        for dy in (aside, -aside):
            start = self.place[1]
            self.drive(lambda s=start, d=dy: (self.place[1] - s) * np.sign(d) > 0.03, dy=dy)

    def reaches_the_floor(self):
        """The arm goes down until the box ends, and not beyond."""
        self.drive(lambda: self.place[2] < FLOOR + 0.025, dz=-0.03)
        self.push_in_vain(dz=-0.03)
        assert min(state.pose.position.z for state in self.states) > FLOOR - 0.005
        self.drive(lambda: self.place[2] > FLOOR + 0.06, dz=0.03)


def ask(word):
    return main(["arm", word, "--patience", str(PATIENCE)])


def preflight(*words):
    """Run it until it passes: what a busy machine is blamed for passes with it."""
    for _ in range(TRIES):
        if main(["doctor", "--real", "--seconds", "3", *words]) == 0:
            return
    raise AssertionError("the preflight does not pass")


@pytest.fixture
def video(tmp_path):
    """A table that somebody looks at: noise, so that it is never frozen."""
    path = tmp_path / "table.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30.0, (96, 96))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(60, 190, (96, 96, 3), dtype=np.uint8))
    writer.release()
    return path


def report(person):
    """Print what driver and stack said, for a test that fails."""
    before = None
    for said in list(person.driver):
        now = f"driver: {ArmDriverState(said.state).name} {said.reason}"
        if now != before:
            print(before := now)
    print(person.run.arrived)


@pytest.fixture
def walk(up, checkpoint, video, tmp_path):
    """Starts a stack as the document says, up to the moment at which a person may enable it."""
    held = contextlib.ExitStack()

    def walk(name, text=""):
        robot = tmp_path / "my_arm.yaml"
        robot.write_text(f"name: {name}\n{text}{SETTINGS}")
        words = (*QUIET, f"robot:={robot}", f"camera:=fake:{video}")
        run = up(
            *("real", *words, "crop:=96", "offset:=0,0"),
            *(f"checkpoint:={checkpoint}", f"output:={tmp_path / 'out'}"),
        )
        person = Person(held.enter_context(Graph()), run)
        held.callback(report, person)
        person.graph.wait(lambda: person.state is ArmDriverState.DISABLED, "the robot to be heard")
        assert ask("enable") == 1  # no preflight was made
        person.graph.wait(lambda: person.states, "the arm's state")
        start = person.place
        person.push_in_vain(dy=0.02)
        assert person.state not in ENABLED
        assert np.abs(person.place - start).max() < 1e-4
        preflight(*words)
        assert person.state not in ENABLED  # a preflight enables nothing
        person.enable()
        person.moves()
        return person

    with held:
        yield walk


@pytest.fixture
def fake():
    started = []

    def fake(*words):
        started.append(Fake(*words))
        return started[-1]

    yield fake
    for one in started:
        one.close()


def stands_still(person, robot):
    """The arm comes to rest, and pushing does not move it."""
    for _ in range(TRIES):
        before = robot.joints()
        person.push_in_vain()
        if np.abs(robot.joints() - before).max() <= 0.002:
            return
    raise AssertionError("the arm moves on")


def goes_through(person, robot, fault, reason):
    """A fault stops the arm until somebody mends, clears and enables; then it moves again."""
    for _ in range(TRIES):
        person.enable()
        start = person.place
        person.drive(lambda s=start: np.abs(person.place - s).max() > 0.01, dy=person.aside())
        robot.type(fault, fault)  # in motion
        person.push_until(lambda: person.state not in ENABLED, f"{fault} to be noticed")
        said = person.driver[-1].reason
        stands_still(person, robot)
        assert person.state not in ENABLED
        robot.type(f"mend {fault}", f"{fault} is over")
        if reason in said:
            break  # else this machine was busy, which is another fault: once more
    else:
        raise AssertionError(f"{fault}: {said}")
    person.push_in_vain()
    assert person.state not in ENABLED  # mended is not enabled
    person.enable()
    person.moves()


@FOUR_FAULTS
def test_a_sawyer_behind_rosbridge(walk, fake):
    robot = fake("fake-sawyer", "--port", "0")
    port = int(robot.greeting.rpartition(":")[2])
    person = walk("sawyer", f"backend: {{host: 127.0.0.1, port: {port}}}\n")
    person.reaches_the_floor()
    goes_through(person, robot, "press_estop", "emergency stop")
    goes_through(person, robot, "disable_motors", "motors went off")
    goes_through(person, robot, "drop_link", "link")
    goes_through(person, robot, "freeze_joints", "joint positions are")


def test_an_arm_under_ros2_control(walk, fake):
    robot = fake("fake-controllers")
    person = walk("ros2_control", "joint_states: false\n")
    person.reaches_the_floor()
    goes_through(person, robot, "freeze_joints", "link")
    goes_through(person, robot, "drop_link", "link")


def test_an_arm_in_memory_and_a_camera_that_unplugs(walk, video, tmp_path):
    person = walk("fake")
    person.reaches_the_floor()
    video.rename(tmp_path / "away.avi")
    person.run.expect("plug the camera in")
    seen, told = len(person.pictures), len(person.driver)
    person.graph.wait(lambda: len(person.driver) > told + 10, "the driver, who says on how he is")
    assert len(person.pictures) <= seen + 1
    (tmp_path / "away.avi").rename(video)
    person.graph.wait(lambda: len(person.pictures) > seen + 3, "pictures again")
    person.moves()
    assert ask("stop") == 0
    person.hear()
    assert person.state is ArmDriverState.FAULT
    person.enable()
    person.moves()
    person.run.process.send_signal(signal.SIGINT)
    assert person.run.end() == 130
    assert nodes_of_this_domain() == {}


def test_the_simulated_table_driven_at_its_joints(up, checkpoint, tmp_path):
    words = ("robot:=sim_joint", *QUIET)
    output = f"output:={tmp_path / 'out'}"
    run = up("real", *words, f"checkpoint:={checkpoint}", output, "max_steps:=100000")
    run.expect("waiting for the arm")
    with Graph() as graph:
        person = Person(graph, run)
        assert ask("enable") == 1  # no preflight was made
        preflight(*words)
        person.enable()
        moved = person.moved_by_policies
        graph.wait(lambda: moved() > 3, "the policy to move the arm")
        assert ask("stop") == 0
        graph.wait(lambda: person.state is ArmDriverState.FAULT, "FAULT")
        person.push_in_vain(dx=0.02)
        stopped = moved()
        person.push_in_vain(dx=0.02)
        assert moved() == stopped
        person.enable()
        assert person.state is ArmDriverState.INTERVENTION  # a person pushed: policies wait
        graph.wait(lambda: ask("rearm") == 0, "the dead-man switch to count as let go")
        graph.wait(lambda: moved() > stopped + 3, "the policy to go on")
        (table,) = (p for p, name in nodes_of_this_domain().items() if name == "joint_bridge")
        os.kill(table, signal.SIGKILL)
    # The arm is gone: nothing begins again by itself.
    assert run.end() == 137
    assert "joint_bridge died (killed by SIGKILL); stopping the others" in run.text
    assert nodes_of_this_domain() == {}
