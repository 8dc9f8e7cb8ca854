# SPDX-License-Identifier: Apache-2.0
"""Poses as frames; nothing is asked of a machine without TF."""

from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from ptp_ros.arm_state_messages import Transforms, transform
from ptp_ros.graph_testing import Graph


def test_a_pose_becomes_the_transform_of_its_frame():
    pose = Pose()
    pose.position.x, pose.position.z, pose.orientation.y = 0.6, -0.2, 1.0
    message = transform(pose, Header(frame_id="base"), "arm_tool")
    assert (message.header.frame_id, message.child_frame_id) == ("base", "arm_tool")
    to, rotation = message.transform.translation, message.transform.rotation
    assert (to.x, to.y, to.z, rotation.y) == (0.6, 0.0, -0.2, 1.0)


def test_frames_are_sent_where_tf_is_and_nowhere_else():
    with Graph() as graph:
        Transforms(graph.client).send(Header(frame_id="base"), {"arm_tool": Pose()})
