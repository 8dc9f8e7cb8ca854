# SPDX-License-Identifier: Apache-2.0
"""The back-end for ros2_control on a real graph, against the controllers that ship with it.

Time passes by hand, in steps of the controllers' period; messages are waited for.
"""

import threading

import numpy as np
import pytest
from geometry_msgs.msg import WrenchStamped
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from ptp_core.errors import ConfigError
from ptp_nodes.nodes.fake_controllers_node import FakeControllers
from ptp_nodes.robot.backend_registry import make_backend
from ptp_nodes.robot.ros2_control_backend import STOPPED, Ros2ControlBackend, Ros2ControlConfig
from ptp_robot.backend_contract import PERIOD, BackendContract
from ptp_robot.backends.backend import BackendError
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import COMMANDS

QUIET = {"drop_link", "freeze_joints"}  # under these no joint states come


class Rig:
    """A back-end and its controllers on one graph, with one clock that is moved by hand."""

    def __init__(self, graph, controller="forward", motors=False, **config):
        self.time, self.graph = 100.0, graph
        self._arrived = threading.Semaphore(0)
        options = {"controller": controller, "commands": "commands", "rate": 0.0}
        self.robot = FakeControllers(
            self.now,
            context=graph.context,
            parameter_overrides=parameters({**options, "motors": motors}),
        )
        graph.add(self.robot)
        self.node = graph.add(Node("arm_driver", context=graph.context))
        self.backend = Ros2ControlBackend(
            self.node,
            Ros2ControlConfig(
                controller=controller,
                commands="commands",
                gripper_commands="gripper_controller/commands",
                gripper_joint="finger_joint",
                gripper_reads=(0.04, 0.0),
                **config,
            ),
            clock=self.now,
        )
        heard = self.backend._heard

        def counted(message):
            heard(message)
            self._arrived.release()

        self.backend._heard = counted
        connect = self.backend.connect

        def connect_and_meet():
            connect()
            self.meet()

        self.backend.connect = connect_and_meet

    def meet(self):
        for topic, ends in (("joint_states", 1), ("commands", 1)):
            self.graph.wait(
                lambda t=topic, n=ends: (
                    self.node.count_publishers(t) >= n and self.node.count_subscribers(t) >= n
                ),
                f"both ends of {topic}",
            )
        states, out = self.robot._states, self.backend
        self.graph.wait(lambda: states.get_subscription_count() > 0, "a reader of joint states")
        self.graph.wait(
            lambda: (
                out._commands.get_subscription_count() > 0
                and out._grips.get_subscription_count() > 0
            ),
            "the controllers",
        )

    def now(self):
        return self.time

    def advance(self, seconds):
        for _ in range(max(round(seconds / PERIOD), 1)):
            self.graph.wait(lambda: self.robot.received == self.backend.sent, "commands")
            self.time += PERIOD
            self.robot.tick()
            if self.backend._open and not self.robot.faults & QUIET:
                assert self._arrived.acquire(timeout=20.0), "joint states did not arrive"

    def joints(self):
        return self.robot.joints()

    def fault(self, name):
        self.robot.faults.add(name)

    def mend(self, name):
        self.robot.faults.discard(name)


class TestForward(BackendContract):
    @pytest.fixture
    def rig(self, graph):
        return Rig(graph)


class TestTrajectory(BackendContract):
    @pytest.fixture
    def rig(self, graph):
        return Rig(graph, controller="trajectory")


def connected(rig):
    rig.backend.connect()
    rig.advance(0.02)
    return rig.backend.reading()


def test_joint_states_without_a_joint_are_dropped_and_it_is_named(graph):
    rig = Rig(graph)
    whole = connected(rig)
    rig.fault("lose_joint")
    rig.advance(0.1)
    assert rig.backend.reading().stamp == whole.stamp
    assert rig.backend.problems() == {"joint states without right_j6": 10}
    rig.mend("lose_joint")
    rig.advance(0.01)
    assert rig.backend.reading().stamp > whole.stamp


def test_old_and_partial_messages_do_not_count(graph):
    rig = Rig(graph)
    connected(rig)
    reader, names = rig.backend._reader, list(rig.backend.joint_names)
    for name, message, problem in (
        ("gripper", JointState(name=["finger_joint"], position=[0.0]), None),
        ("short", JointState(name=names, position=[0.0]), "more names than positions"),
        ("late", JointState(name=names, position=[0.0] * 7), "not newer"),
    ):
        if name == "late":
            message.header.stamp.sec = reader._sent // 10**9
        before = sum(rig.backend.problems().values())
        newest = reader.newest
        reader.read(message, rig.now())
        assert reader.newest is newest, name
        assert sum(rig.backend.problems().values()) == before + (problem is not None)
        assert problem is None or any(problem in text for text in rig.backend.problems())


def test_speeds_are_differences_where_none_are_measured(graph):
    rig = Rig(graph)
    connected(rig)
    reader = rig.backend._reader
    reader.forget()
    names = list(rig.backend.joint_names)
    reader.read(JointState(name=names, position=[0.0] * 7), 5.0)
    reader.read(JointState(name=names, position=[0.01] * 7), 5.1)
    np.testing.assert_allclose(reader.newest.dq, 0.1)


def test_hold_stays_where_it_was_told_first_and_follows_a_hand_that_moves_the_arm(graph):
    rig = Rig(graph)
    start = connected(rig).q
    rig.backend.hold()
    rig.advance(0.05)
    rig.robot.place(start + 0.01)  # sags: it is brought back
    rig.advance(0.05)
    rig.backend.hold()
    rig.advance(0.1)
    np.testing.assert_allclose(rig.joints(), start)
    rig.robot.place(start + 0.3)  # somebody moved it: it stays there
    rig.advance(0.05)
    rig.backend.hold()
    rig.advance(0.5)
    np.testing.assert_allclose(rig.joints(), start + 0.3)


def test_a_stop_lasts_until_it_is_cleared(graph):
    rig = Rig(graph)
    q = connected(rig).q
    rig.backend.stop()
    assert (rig.backend.reading().enabled, rig.backend.reading().trouble) == (False, STOPPED)
    for refused in (rig.backend.enable, lambda: rig.backend.command(q + 0.1, q * 0)):
        with pytest.raises(BackendError, match="stopped by software"):
            refused()
    rig.backend.clear()
    rig.backend.disable()
    assert not rig.backend.reading().enabled
    with pytest.raises(BackendError, match="enable it first"):
        rig.backend.command(q + 0.1, q * 0)
    rig.backend.enable()
    assert rig.backend.reading().enabled


def test_motors_go_on_and_off_where_the_robot_says_so(graph):
    services = {"enable_service": "motors/on", "disable_service": "motors/off"}
    rig = Rig(graph, motors=True, enabled="motors_on", **services)
    assert not connected(rig).enabled
    graph.wait(lambda: all(c.service_is_ready() for c in rig.backend._services.values() if c))
    rig.backend.enable()
    graph.wait(lambda: rig.backend.reading().enabled, "motors on")
    rig.backend.disable()
    graph.wait(lambda: rig.backend._motors is False, "motors off")
    rig.fault("refuse_enable")
    rig.backend.enable()
    graph.wait(lambda: any("do not come on" in text for text in rig.backend.problems()))
    assert not rig.backend.reading().enabled


def test_without_a_controller_nothing_is_sent_and_the_error_says_what_to_do(graph):
    rig = Rig(graph)
    q = connected(rig).q
    graph.remove(rig.robot)  # and no time passes: its joints still count
    graph.wait(lambda: not rig.backend._commands.get_subscription_count(), "it to be gone")
    with pytest.raises(BackendError, match="no controller listens to commands: activate it"):
        rig.backend.command(q, q * 0)


def test_a_wrench_counts_in_the_base_or_in_a_frame_whose_rotation_is_known(graph):
    rig = Rig(graph, wrench="wrench")
    rig.backend._tool = lambda q: np.diag([1.0, -1.0, -1.0])
    connected(rig)
    wrenches = graph.publisher(WrenchStamped, "wrench", COMMANDS)
    for frame, force in (("base", 5.0), ("tool0", -5.0)):
        message = WrenchStamped()
        message.header.frame_id, message.wrench.force.z = frame, 5.0
        wrenches.publish(message)
        graph.wait(
            lambda f=force: (r := rig.backend.reading()).wrench is not None and r.wrench[2] == f,
            f"a wrench in {frame}",
        )
    message.header.frame_id = "camera"
    wrenches.publish(message)
    graph.wait(lambda: any("camera" in text for text in rig.backend.problems()), "the problem")


def test_settings_come_from_a_robot_file_and_mistakes_are_named(graph):
    node = Node("arm_driver", context=graph.context)
    try:
        backend = make_backend("ros2_control", node, {"controller": "trajectory"})
        assert (backend.name, backend.interface) == ("ros2_control", "position")
        for wrong, text in (
            ({"topic": "x"}, 'unknown key "backend.topic"'),
            ({"silent_after": 50.0}, "silent_after is 50.0"),
            ({"gripper_sends": [1.0]}, "two numbers, open and closed"),
            ({"joints": ["a", "a"]}, "name each once"),
        ):
            with pytest.raises(ConfigError, match=text):
                make_backend("ros2_control", node, wrong)
    finally:
        node.destroy_node()


def test_a_fault_can_be_set_while_the_controllers_run_and_a_wrong_one_is_named(graph):
    rig = Rig(graph)

    def ask(value):
        wanted = Parameter("fault", value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[wanted])
        return graph.call(SetParameters, "fake_controllers/set_parameters", request).results[0]

    assert ask("nan_joints").successful
    assert rig.robot.faults == {"nan_joints"}
    assert 'no fault "trip": use one of drop_link' in ask("trip").reason
    assert ask("").successful
    assert not rig.robot.faults
