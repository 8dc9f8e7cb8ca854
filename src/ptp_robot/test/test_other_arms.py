# SPDX-License-Identifier: Apache-2.0
"""Kinematics of an arm that is no Sawyer: six joints, with the lengths of a UR5e."""

import math

import numpy as np
import pytest

from ptp_robot.kinematics import KinematicsError, SawyerKinematics

REST = (0.0, -1.4, 1.9, -2.07, -1.57, 0.0)
# xyz and rpy of each joint in the link before it.
JOINTS = (
    ((0, 0, 0.1625), (0, 0, math.pi)),
    ((0, 0, 0), (math.pi / 2, 0, 0)),
    ((-0.425, 0, 0), (0, 0, 0)),
    ((-0.3922, 0, 0.1333), (0, 0, 0)),
    ((0, -0.0997, 0), (math.pi / 2, 0, 0)),
    ((0, 0.0996, 0), (math.pi / 2, math.pi, math.pi)),
)


def urdf(folder, joints=JOINTS):
    lines = ['<robot name="six">', '<link name="base"/>']
    parent = "base"
    for index, (xyz, rpy) in enumerate(joints):
        child = "tool0" if index == len(joints) - 1 else f"l{index}"
        lines.append(
            f'<joint name="j{index}" type="revolute"><parent link="{parent}"/>'
            f'<child link="{child}"/><origin xyz="{" ".join(map(str, xyz))}" '
            f'rpy="{" ".join(map(str, rpy))}"/><axis xyz="0 0 1"/>'
            '<limit lower="-6.28" upper="6.28" velocity="3.14" effort="100"/></joint>'
            f'<link name="{child}"/>'
        )
        parent = child
    path = folder / "six.urdf"
    path.write_text("\n".join([*lines, "</robot>"]))
    return path


def test_six_joints_reach_every_point_of_a_box_with_the_tool_down(tmp_path):
    arm = SawyerKinematics.from_urdf(urdf(tmp_path), tip="tool0", rest=REST)
    rng = np.random.default_rng(0)
    start = arm.solve(np.array(REST), [0.45, 0.1, 0.3], 0.0, iterations=100)
    assert start.ok, start
    q = start.q
    position, rotation = arm.forward(q)
    np.testing.assert_allclose(rotation[:, 2], [0, 0, -1], atol=1e-3)
    for _ in range(200):
        target = np.clip(position + rng.uniform(-0.03, 0.03, 3), (0.3, -0.2, 0.1), (0.6, 0.3, 0.4))
        result = arm.solve(q, target, float(rng.uniform(-0.1, 0.1)))
        assert result.ok, (target, result)
        assert np.abs(result.q - q).max() < 0.6
        q, position = result.q, arm.forward(result.q)[0]
        np.testing.assert_allclose(position, target, atol=1e-4)


def test_its_jacobian_is_the_derivative_of_its_position(tmp_path):
    arm = SawyerKinematics.from_urdf(urdf(tmp_path), tip="tool0", rest=REST)
    q, step = np.array(REST), 1e-6
    jacobian = arm.jacobian(q)
    assert jacobian.shape == (6, 6)
    for joint in range(6):
        ahead = q.copy()
        ahead[joint] += step
        moved = (arm.forward(ahead)[0] - arm.forward(q)[0]) / step
        np.testing.assert_allclose(jacobian[:3, joint], moved, atol=1e-5)


def test_an_arm_without_rest_posture_or_with_too_few_joints_is_refused(tmp_path):
    with pytest.raises(KinematicsError, match="another arm needs a rest posture"):
        SawyerKinematics.from_urdf(urdf(tmp_path), tip="tool0")
    with pytest.raises(KinematicsError, match="6 moving joints"):
        SawyerKinematics.from_urdf(urdf(tmp_path), tip="tool0", rest=REST[:5])
    with pytest.raises(KinematicsError, match="5 moving joints"):
        SawyerKinematics.from_urdf(urdf(tmp_path, JOINTS[:5]), tip="tool0", rest=REST[:5])
