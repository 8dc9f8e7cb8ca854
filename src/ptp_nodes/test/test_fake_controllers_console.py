# SPDX-License-Identifier: Apache-2.0
"""Fake controllers as a user runs them: trouble is typed, and what is typed wrong is named."""

import threading

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ptp_nodes.nodes.fake_controllers_node import FAULTS, serve
from ptp_robot.kinematics import REST_CONFIGURATION
from ptp_ros.topics import ARM_COMMANDS, COMMANDS, JOINT_STATES


def test_faults_are_typed_and_answered(ros_domain):
    said = []
    lines = ["", "nan_joints", "drop_link", "show", "mend nan_joints", "mend drop_link", "show"]
    serve([*lines, "trip", "mend trip", "quit", "show"], said.append)
    assert said[0].startswith(f"fake controllers on ROS domain {ros_domain}\n")
    assert all(name in said[0] for name in FAULTS)
    assert said[1] == "nan_joints: joint states hold what is no number"
    assert said[3].startswith("motors on, joints [")
    assert said[3].endswith("faults: drop_link, nan_joints")
    assert said[4:6] == ["nan_joints is over", "drop_link is over"]
    assert said[6].endswith("faults: none")
    assert all(text.startswith("not understood: ") for text in said[7:9])
    assert len(said) == 9


def test_its_arm_goes_where_it_is_told_and_says_so(graph):
    seen = graph.collect(JointState, JOINT_STATES, COMMANDS)
    commands = graph.client.create_publisher(Float64MultiArray, ARM_COMMANDS, COMMANDS)
    goal = np.array(REST_CONFIGURATION)
    goal[0] += 0.2

    def arrived():
        commands.publish(Float64MultiArray(data=goal.tolist()))
        newest = seen[-1] if seen else None
        here = dict(zip(newest.name, newest.position, strict=True)) if newest else {}
        return abs(here.get("right_j0", np.inf) - goal[0]) < 1e-6

    def lines():
        graph.wait(arrived, "the arm to arrive")
        yield from ("show", "quit")

    said = []
    running = threading.Thread(target=serve, args=(lines(), said.append))
    running.start()
    running.join(60.0)
    assert not running.is_alive()
    assert f"joints [{round(goal[0], 3)}, " in said[1]
