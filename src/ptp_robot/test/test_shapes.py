# SPDX-License-Identifier: Apache-2.0
"""The boxes that the arm is drawn with, where its kinematics says that it is."""

import numpy as np
import pytest

from ptp_description import sawyer_urdf_path
from ptp_robot.kinematics import ARM_JOINTS, REST_CONFIGURATION, SawyerKinematics
from ptp_robot.urdf import KinematicsError, read_shapes

FINGER = "gripper_l_finger_joint"


@pytest.fixture(scope="module")
def shapes():
    return read_shapes(sawyer_urdf_path())


def test_the_tool_is_where_the_kinematics_puts_it(shapes):
    kinematics = SawyerKinematics.from_urdf(sawyer_urdf_path())
    rng = np.random.default_rng(5)
    for q in (REST_CONFIGURATION, *rng.uniform(-1.5, 1.5, (5, 7))):
        tip = shapes.frames(dict(zip(ARM_JOINTS, q)))["gripper_tip"]
        position, rotation = kinematics.forward(q)
        assert tip[:3, 3] == pytest.approx(position, abs=1e-12)
        assert tip[:3, :3] == pytest.approx(rotation, abs=1e-12)


def test_one_finger_mimics_the_other(shapes):
    frames = shapes.frames({FINGER: 0.03})
    left, right = (frames[f"gripper_{side}_finger"][:3, 3] for side in "lr")
    assert np.linalg.norm(left - right) == pytest.approx(0.06)


def test_boxes_have_sizes_colors_and_links(shapes):
    hand = next(box for box in shapes.boxes if box.link == "gripper_base")
    assert hand.size == (0.05, 0.11, 0.064)
    assert hand.color == (0.62, 0.56, 0.64, 1.0)
    assert hand.pose[:3, 3] == pytest.approx([0.0, 0.0, 0.033])
    assert {box.link for box in shapes.boxes} <= set(shapes.frames({}))
    assert len(shapes.boxes) > 10


LINKS = '<link name="a"/><link name="b"/>'
JOINT = '<joint name="{0}{1}" type="fixed"><parent link="{0}"/><child link="{1}"/></joint>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot>", "not a whole URDF"),
        (f"<robot>{LINKS}</robot>", "2 trees"),
        (f"<robot>{LINKS}{JOINT.format(*'ab')}{JOINT.format(*'ba')}</robot>", "a ring"),
    ],
)
def test_what_is_no_arm_is_refused(tmp_path, text, message):
    path = tmp_path / "arm.urdf"
    path.write_text(text)
    with pytest.raises(KinematicsError, match=message):
        read_shapes(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KinematicsError, match="cannot read the URDF"):
        read_shapes(tmp_path / "gone.urdf")
