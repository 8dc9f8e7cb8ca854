# SPDX-License-Identifier: Apache-2.0
"""The arm_driver node on a real graph, with the arm in memory and time by hand."""

import json
import threading
import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, ErrorCode, Observation
from ptp_interfaces.srv import Rearm
from rcl_interfaces.msg import Log
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ptp_nodes.nodes.arm_driver_node import ArmDriverNode
from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import (
    ARM_PREFLIGHT,
    ARM_STATE,
    COMMANDS,
    COMMANDS_FROM,
    DRIVER_STATE,
    JOINT_STATES,
    LATCHED,
    OBSERVATION,
    REARM,
    RECORDS,
    STREAM,
)

READY, ACTIVE, INTERVENTION = DriverState.READY, DriverState.ACTIVE, DriverState.INTERVENTION


class Arm:
    """The node, what it says, and whoever talks to it."""

    def __init__(self, graph, **values):
        self.time = 50.0
        self.graph = graph
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.driver_states = graph.collect(DriverState, DRIVER_STATE, LATCHED)
        self.node = graph.add(
            ArmDriverNode(
                clock=lambda: self.time,
                context=graph.context,
                parameter_overrides=parameters({"preflight": False, **values}),
            )
        )
        self.commands = [graph.publisher(CartesianDelta, name, COMMANDS) for name in COMMANDS_FROM]
        self.images = graph.publisher(Observation, OBSERVATION, STREAM)
        self.count = self.seen = 0
        if self.node.active:
            self.run(0.03)

    @property
    def backend(self):
        return self.node._driver.backend

    def run(self, seconds):
        for _ in range(round(seconds / 0.01)):
            self.time += 0.01
            self.node.cycle()

    def ask(self, name):
        response = self.graph.call(Trigger, name, Trigger.Request())
        self.run(0.03)
        return response

    def send(self, source=CartesianDelta.POLICY, answers=0, late=0, topic=None, **motion):
        """Publish a command and wait until the driver has dealt with it.

        A policy's answers a new image where it is not said which.
        """
        self.count += 1
        if source == CartesianDelta.POLICY and not answers:
            self.image()
            answers = self.seen
        message = CartesianDelta(seq=self.count, source=source, observation_seq=answers, **motion)
        message.dead_man = source == CartesianDelta.TELEOP
        message.header.frame_id = "base"
        message.header.stamp = self.graph.client.get_clock().now().to_msg()
        message.header.stamp.sec -= late
        driver = self.node._driver
        before = sum(vars(driver.counts).values())
        self.commands[source if topic is None else topic].publish(message)
        self.graph.wait(lambda: sum(vars(driver.counts).values()) > before, "the command")
        return message

    def image(self):
        """Publish an observation; the state that shows it."""
        self.seen += 1
        self.images.publish(Observation(seq=self.seen))
        self.graph.wait(
            lambda: self.states and self.states[-1].observation_seq == self.seen, "its state"
        )
        return self.states[-1]

    def until(self, state):
        self.graph.wait(
            lambda: self.driver_states and self.driver_states[-1].state == state, f"state {state}"
        )
        return self.driver_states[-1]


@pytest.fixture
def arm(graph):
    return Arm(graph)


def enabled(arm):
    assert arm.ask("arm/enable").success
    arm.until(READY)
    return arm


def test_states_tell_what_led_from_image_to_image(arm):
    enabled(arm)
    first = arm.image()
    assert (first.moved, first.holding, first.header.frame_id) == (False, True, "base")
    sent = arm.send(answers=1, dx=0.02, dy=-0.01, dyaw=0.05, gripper=1.0, weights_version="a/1")
    arm.run(0.4)  # beyond its time: the motion ends with it
    state = arm.image()
    assert state.moved
    assert (state.command, state.command_seq) == (sent, sent.seq)
    assert state.executed_dx == pytest.approx(0.02, abs=2e-3)
    assert state.executed_dy == pytest.approx(-0.01, abs=2e-3)
    assert state.executed_dyaw == pytest.approx(0.05, abs=5e-3)
    assert state.gripper == 1.0
    assert state.joint_names == list(ARM_JOINTS)
    np.testing.assert_allclose(state.joint_positions, arm.backend.joints(), atol=1e-3)
    assert state.pose.position.x - first.pose.position.x == pytest.approx(state.executed_dx)
    assert state.twist.linear.x == pytest.approx(state.executed_dx / 0.4)
    still = arm.image()
    assert (still.moved, still.holding, still.command_seq) == (False, True, 0)


def test_nothing_moves_before_it_is_enabled_and_the_driver_says_why(arm):
    state = arm.until(DriverState.DISABLED)
    assert state.reason == "enable to go on"
    assert (state.backend, state.interface, state.reference) == ("fake", "velocity", "setpoint")
    assert len(state.limits) == 12
    assert not state.robot_enabled
    before = arm.backend.joints()
    arm.commands[CartesianDelta.POLICY].publish(CartesianDelta(seq=1, dx=0.02))
    arm.graph.wait(lambda: arm.node._driver._news.error, "the command")
    arm.run(0.5)
    np.testing.assert_array_equal(arm.backend.joints(), before)
    refused = arm.image()
    assert refused.error_code == ErrorCode.BAD_COMMAND
    assert "enable to go on" in refused.error_msg


def test_faults_are_latched_on_the_graph_too(arm):
    enabled(arm)
    arm.send(dx=0.02)
    arm.run(0.05)
    assert arm.until(ACTIVE).accepted == 1
    logs = arm.graph.logs()
    arm.backend.fault("press_estop")
    arm.run(0.03)
    assert "emergency stop is pressed" in arm.until(DriverState.FAULT).reason
    logs.expect("ACTIVE to FAULT: the emergency stop is pressed", Log.ERROR)
    assert arm.image().error_code == ErrorCode.UNAVAILABLE
    refused = arm.ask("arm/enable")
    assert not refused.success
    assert "fault is latched" in refused.message
    assert "pressed" in arm.ask("arm/clear_fault").message
    arm.backend.mend("press_estop")
    assert arm.ask("arm/clear_fault").success
    arm.until(DriverState.DISABLED)
    enabled(arm)


def test_a_person_takes_over_and_gives_back(arm):
    enabled(arm)
    arm.send(dy=0.02)
    arm.image()
    sent = arm.send(CartesianDelta.TELEOP, dz=0.02)
    arm.run(0.1)
    arm.until(INTERVENTION)
    state = arm.image()
    assert state.taken_over
    assert state.command == sent
    refused = arm.graph.call(Rearm, REARM, Rearm.Request())
    assert (refused.error_code, "let go" in refused.error_msg) == (ErrorCode.BUSY, True)
    arm.run(0.4)
    assert arm.graph.call(Rearm, REARM, Rearm.Request()).error_code == ErrorCode.NONE
    arm.run(0.02)
    arm.until(DriverState.HOLD)


@pytest.mark.parametrize("source, topic", [(1, 0), (0, 1), (0, 2), (2, 0), (1, 2)])
def test_who_speaks_is_said_by_the_topic_and_not_by_the_message(arm, source, topic):
    enabled(arm)
    arm.send(source, topic=topic, dx=0.02)
    state = arm.image()
    assert (state.moved, state.taken_over, state.error_code) == (False, False, 5)
    assert "came as a" in state.error_msg


def test_an_answer_to_an_observation_that_was_never_published_moves_nothing(arm):
    enabled(arm)
    arm.image()
    arm.send(answers=2**32 - 1, dx=0.02)
    arm.run(0.1)
    assert not arm.image().moved
    arm.send(answers=arm.seen, dx=0.02)
    assert arm.image().moved


def test_a_stale_command_is_refused_and_the_arm_holds(arm):
    enabled(arm)
    arm.send(dx=0.02)
    arm.image()
    arm.send(dx=0.02, late=2)
    arm.run(0.02)
    assert "2.0" in arm.until(DriverState.HOLD).reason
    state = arm.image()
    assert state.error_code == ErrorCode.BAD_COMMAND
    assert "set both machines' clocks" in state.error_msg


def test_home_stop_and_disable(arm):
    enabled(arm)
    assert arm.ask("arm/reset_pose").success
    arm.until(DriverState.RESETTING)
    arm.run(4.0)
    arm.until(READY)
    assert arm.ask("arm/stop").success
    arm.until(DriverState.FAULT)
    assert not arm.backend.reading().enabled
    assert arm.ask("arm/clear_fault").success
    enabled(arm)
    assert arm.ask("arm/disable").success
    assert arm.until(DriverState.DISABLED).reason == "disabled: enable to go on"


def test_joints_are_published_for_those_who_look(arm):
    joints = arm.graph.collect(JointState, JOINT_STATES, COMMANDS)
    arm.graph.wait(lambda: arm.node._joints.get_subscription_count() > 0, "the reader")
    arm.run(0.02)
    arm.graph.wait(lambda: joints, "joints")
    assert joints[-1].name == [*ARM_JOINTS, "gripper_l_finger_joint"]
    assert joints[-1].position[-1] == pytest.approx(0.04)  # open
    np.testing.assert_allclose(joints[-1].position[:7], arm.backend.joints())


def test_an_error_in_a_cycle_is_a_fault_and_the_node_lives_on(arm):
    enabled(arm)

    def broken():
        raise RuntimeError("no such register")

    arm.backend.reading = broken
    arm.run(0.01)
    assert "no such register" in arm.until(DriverState.FAULT).reason
    del arm.backend.reading
    arm.run(0.02)
    assert arm.ask("arm/clear_fault").success


def test_an_inactive_node_moves_and_answers_nothing(graph):
    arm = Arm(graph, autostart=False)
    response = graph.call(Trigger, "arm/enable", Trigger.Request())
    assert not response.success
    assert "activate it first" in response.message
    for transition in (
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_ACTIVATE,
    ):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert graph.call(ChangeState, "arm_driver/change_state", request).success
        if transition == Transition.TRANSITION_ACTIVATE:
            arm.run(0.03)
            enabled(arm)  # each time anew
        elif transition == Transition.TRANSITION_DEACTIVATE:
            assert not graph.call(Trigger, "arm/enable", Trigger.Request()).success


def test_a_wrong_file_is_named_and_the_node_lives_on(graph, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("limits: {speed: 3.0}")
    logs = graph.logs()
    graph.add(
        ArmDriverNode(
            context=graph.context, parameter_overrides=parameters({"robot_file": str(path)})
        )
    )
    logs.expect("configure failed", Log.ERROR)
    logs.expect("speed is 3.0, allowed is 0.001 to 0.25", Log.ERROR)
    response = graph.call(Trigger, "arm/enable", Trigger.Request())
    assert "allowed is 0.001 to 0.25" in response.message


def test_it_is_enabled_only_on_a_preflight_that_passed(graph):
    arm = Arm(graph, preflight=True)
    refused = arm.ask("arm/enable")
    assert (refused.success, refused.message[:24]) == (False, "no preflight was made: r")
    reports = graph.publisher(String, ARM_PREFLIGHT, LATCHED)
    limits = arm.driver_states[-1].limits
    good = {"ok": True, "stamp": time.time(), "limits": limits, "backend": "fake", "findings": []}
    for changes, text in (
        ({"ok": False, "findings": ["disk: full"]}, "did not pass: disk: full"),
        ({"limits": "abc"}, "of limits abc of fake"),
        ({"stamp": time.time() - 3600.0}, "60 min old"),
        ({}, "asked for motors on"),
    ):
        reports.publish(String(data=json.dumps({**good, **changes})))
        assert reports.wait_for_all_acked()
        graph.wait(lambda t=text: t in arm.ask("arm/enable").message, text)
    arm.run(0.1)
    graph.wait(lambda: arm.driver_states[-1].state == DriverState.READY, "READY")


def test_its_own_thread_steps_it_in_real_time(graph, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("name: fake\nlimits: {overrun: 0.2}\n")
    states = graph.collect(DriverState, DRIVER_STATE, LATCHED)
    node = graph.add(
        ArmDriverNode(
            context=graph.context, parameter_overrides=parameters({"robot_file": str(path)})
        )
    )
    graph.wait(lambda: states and states[-1].loop_rate > 20.0, "the loop")
    graph.remove(node)
    names = {thread.name for thread in threading.enumerate()}
    assert "arm_driver" not in names
