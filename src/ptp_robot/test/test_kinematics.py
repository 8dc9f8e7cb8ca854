# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics against the published pose and PyBullet, and the solver's promises."""

import math
import subprocess
import sys

import numpy as np
import pybullet
import pytest

from ptp_description import sawyer_urdf_path
from ptp_robot.action import Workspace
from ptp_robot.kinematics import (
    IKConfig,
    KinematicsError,
    SawyerKinematics,
    downward_rotation,
    workspace_results,
)

NEUTRAL = (0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 3.3161)


@pytest.fixture(scope="module")
def arm() -> SawyerKinematics:
    return SawyerKinematics.from_urdf(sawyer_urdf_path())


def random_joints(arm: SawyerKinematics, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(arm.lower, arm.upper, (count, 7))


def random_walk(arm: SawyerKinematics, steps: int, seed: int):
    """TCP targets in the workspace in 3 cm, 5 degree steps, and the solver's answers."""
    generator = np.random.default_rng(seed)
    box = Workspace()
    q, yaw = arm.rest_configuration, 0.0
    position = arm.forward(q)[0]
    for step in range(steps):
        if step % 30 == 0:
            goal = generator.uniform(box.lower, box.upper)
            goal_yaw = generator.uniform(math.radians(-100), math.radians(190))
        way = goal - position
        position = position + way * min(1.0, 0.03 / max(np.linalg.norm(way), 1e-9))
        yaw += np.clip(goal_yaw - yaw, -math.radians(5), math.radians(5))
        result = arm.solve(q, position, yaw)
        yield position, yaw, q, result
        q = result.q


def test_neutral_pose_of_the_hand_is_the_published_one():
    hand = SawyerKinematics.from_urdf(sawyer_urdf_path(), tip="right_hand")
    position, rotation = hand.forward(NEUTRAL)
    np.testing.assert_allclose(position, (0.4496, 0.1603, 0.2158), atol=6e-5)
    assert math.acos(-rotation[2, 2]) == pytest.approx(0.8e-3, abs=5e-5)
    np.testing.assert_allclose(rotation[:, 1], (1, 0, 0), atol=1e-3)


def test_forward_and_jacobian_agree_with_pybullet(arm):
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(sawyer_urdf_path(), useFixedBase=True, physicsClientId=client)
        infos = [
            pybullet.getJointInfo(body, i, physicsClientId=client)
            for i in range(pybullet.getNumJoints(body, physicsClientId=client))
        ]
        joints = [info[0] for info in infos if info[1].startswith(b"right_j")]
        (tip,) = (info[0] for info in infos if info[12] == b"gripper_tip")
        for q in random_joints(arm, 20):
            for joint, angle in zip(joints, q, strict=True):
                pybullet.resetJointState(body, joint, angle, physicsClientId=client)
            state = pybullet.getLinkState(
                body, tip, computeForwardKinematics=True, physicsClientId=client
            )
            position, rotation = arm.forward(q)
            np.testing.assert_allclose(position, state[4], atol=1e-6)
            matrix = np.reshape(pybullet.getMatrixFromQuaternion(state[5]), (3, 3))
            np.testing.assert_allclose(rotation, matrix, atol=1e-6)
            linear, angular = pybullet.calculateJacobian(
                body, tip, [0, 0, 0], [*q, 0, 0], [0] * 9, [0] * 9, physicsClientId=client
            )
            expected = np.vstack([linear, angular])[:, :7]
            np.testing.assert_allclose(arm.jacobian(q), expected, atol=1e-6)
    finally:
        pybullet.disconnect(client)


def test_jacobian_is_the_derivative_of_forward(arm):
    step = 1e-6
    for q in random_joints(arm, 5):
        jacobian = arm.jacobian(q)
        for joint in range(7):
            change = step * np.eye(7)[joint]
            (ahead, after), (behind, before) = arm.forward(q + change), arm.forward(q - change)
            np.testing.assert_allclose(
                jacobian[:3, joint], (ahead - behind) / (2 * step), atol=1e-7
            )
            spin = (after - before) / (2 * step) @ arm.forward(q)[1].T
            np.testing.assert_allclose(
                jacobian[3:, joint], (spin[2, 1], spin[0, 2], spin[1, 0]), atol=1e-7
            )


def test_downward_rotation_points_down_with_the_fingers_along_base_y(arm):
    np.testing.assert_allclose(downward_rotation(0.0)[:, 1], (0, 1, 0), atol=1e-15)
    for yaw in np.linspace(-3.0, 3.0, 7):
        rotation = downward_rotation(yaw)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        np.testing.assert_allclose(rotation[:, 2], (0, 0, -1), atol=1e-15)
        finger_axis = (-math.sin(yaw), math.cos(yaw), 0)
        np.testing.assert_allclose(rotation[:, 1], finger_axis, atol=1e-15)


def test_rest_posture_points_down_inside_the_workspace(arm):
    position, rotation = arm.forward(arm.rest_configuration)
    assert Workspace().contains(position, tolerance=-0.1)
    np.testing.assert_allclose(rotation, downward_rotation(0.0), atol=2e-4)


def test_every_workspace_corner_is_reached_from_rest_at_three_yaws(arm):
    results = workspace_results(arm)
    assert len(results) == 24
    for corner, yaw, result in results:
        assert result.ok
        position, rotation = arm.forward(result.q)
        assert np.linalg.norm(position - corner) <= 1e-4
        assert np.abs(rotation - downward_rotation(yaw)).max() <= 1e-3


def test_small_steps_are_solved_within_tolerance_limits_and_condition(arm):
    margin = arm.config.joint_margin
    for position, yaw, q, result in random_walk(arm, 600, seed=2):
        assert result.ok
        reached, rotation = arm.forward(result.q)
        assert np.linalg.norm(reached - position) <= 1e-4
        assert np.linalg.norm(reached - position) == pytest.approx(result.position_error)
        assert np.abs(rotation - downward_rotation(yaw)).max() <= 1e-3
        assert (result.q >= arm.lower + margin).all()
        assert (result.q <= arm.upper - margin).all()
        assert np.abs(result.q - q).max() < 0.4
        assert np.linalg.cond(arm.jacobian(result.q)) < 30.0


def test_yaw_reads_back_what_was_solved(arm):
    for yaw in (-1.6, -0.4, 0.0, 0.9, 1.6):
        result = arm.solve(arm.rest_configuration, (0.6, 0.1, -0.2), yaw, iterations=50)
        assert arm.yaw(result.q) == pytest.approx(yaw, abs=1e-3)


def test_the_same_call_gives_the_same_bits(arm):
    again = SawyerKinematics.from_urdf(sawyer_urdf_path())
    for position, yaw, q, result in random_walk(arm, 20, seed=3):
        np.testing.assert_array_equal(again.solve(q, position, yaw).q, result.q)


def test_null_space_pull_brings_the_elbow_back_without_moving_the_tip(arm):
    rest = arm.rest_configuration
    position, _ = arm.forward(rest)
    null = np.linalg.svd(arm.jacobian(rest))[2][6]
    away = arm.solve(rest + 0.4 * null, position, 0.0, rest_gain=0.0, iterations=30).q
    distance = np.linalg.norm((away - rest)[:6])
    assert distance > 0.2
    q = away
    for _ in range(60):
        result = arm.solve(q, position, 0.0)
        assert result.ok
        q = result.q
    assert np.linalg.norm((q - rest)[:6]) < 0.05 * distance


def test_unreachable_target_is_flagged_and_stays_inside_the_limits(arm):
    result = arm.solve(arm.rest_configuration, (2.0, 0.0, 0.0), 0.0, iterations=50)
    assert not result.ok
    assert result.position_error > 0.5
    assert np.isfinite(result.q).all()
    assert (result.q >= arm.lower).all()
    assert (result.q <= arm.upper).all()


def test_seed_outside_the_limits_is_brought_inside(arm):
    seed = np.where(np.arange(7) == 6, 6.0, arm.rest_configuration)
    result = arm.solve(seed, (0.6, 0.0, -0.2), 0.0)
    assert result.q[6] <= arm.upper[6] - arm.config.joint_margin


def test_step_cap_shortens_the_motion_and_says_so(arm):
    rest = arm.rest_configuration
    result = arm.solve(rest, (0.6, 0.1, -0.3), 0.5, max_step=0.05)
    assert np.abs(result.q - rest).max() == pytest.approx(0.05)
    assert not result.ok
    position, _ = arm.forward(result.q)
    error = np.linalg.norm(position - (0.6, 0.1, -0.3))
    assert result.position_error == pytest.approx(error)


def test_straight_arm_gives_finite_joints(arm):
    straight = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert np.linalg.cond(arm.jacobian(straight)) > 1e3
    position, _ = arm.forward(straight)
    result = arm.solve(straight, np.add(position, (0.1, 0.0, 0.0)), 0.0)
    assert np.isfinite(result.q).all()


def test_half_turn_is_solved(arm):
    rest = arm.rest_configuration
    position, _ = arm.forward(rest)
    result = arm.solve(rest, position, math.pi, iterations=100)
    assert result.ok


@pytest.mark.parametrize(
    ("q", "position", "yaw"),
    [
        (np.full(7, math.nan), np.zeros(3), 0.0),
        (np.zeros(7), np.array([0.6, math.inf, 0.0]), 0.0),
        (np.zeros(7), np.zeros(3), math.nan),
        (np.zeros(6), np.zeros(3), 0.0),
        (np.zeros(7), np.zeros(2), 0.0),
    ],
)
def test_bad_input_is_refused(arm, q, position, yaw):
    with pytest.raises(ValueError, match="solve"):
        arm.solve(q, position, yaw)


def test_margin_is_configurable():
    arm = SawyerKinematics.from_urdf(sawyer_urdf_path(), config=IKConfig(joint_margin=0.5))
    results = [arm.solve(q, (0.6, 0, -0.2), 0.0) for q in random_joints(arm, 30)]
    assert all((r.q <= arm.upper - 0.5).all() and (r.q >= arm.lower + 0.5).all() for r in results)


def broken(text: str, old: str, new: str, folder) -> str:
    assert old in text
    path = folder / "arm.urdf"
    path.write_text(text.replace(old, new, 1))
    return str(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</robot>", "", "not a whole URDF"),
        ('<child link="right_l3"/>', '<child link="elsewhere"/>', "no chain"),
        ('<axis xyz="0 0 1"/>', '<axis xyz="1 0 0"/>', "revolute about local z"),
        ('lower="-3.0503" ', "", "numeric lower"),
        ('lower="-3.0503" ', 'lower="9" ', "lower below upper"),
        ('name="right_j4"', 'name="elbow"', "right_j4"),
        ('xyz="0 0 0.08"', 'xyz="0 0 high"', "not numeric"),
        ('xyz="0 0 0.08"', 'xyz="0 0"', "three numbers"),
    ],
)
def test_a_broken_urdf_is_refused_with_its_cause(tmp_path, old, new, message):
    with open(sawyer_urdf_path(), encoding="utf-8") as file:
        path = broken(file.read(), old, new, tmp_path)
    with pytest.raises(KinematicsError, match=message):
        SawyerKinematics.from_urdf(path)


def test_a_urdf_with_entities_or_without_end_is_refused(tmp_path):
    path = tmp_path / "arm.urdf"
    with open(sawyer_urdf_path(), encoding="utf-8") as file:
        text = file.read()
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    start = text.index("<robot")
    path.write_text(f"{text[:start]}<!DOCTYPE robot [{laughs}]>{text[start:]}")
    with pytest.raises(KinematicsError, match="is refused as a URDF: it declares a document type"):
        SawyerKinematics.from_urdf(path)
    with pytest.raises(KinematicsError, match="is refused as a URDF: it has more than 16 MiB"):
        SawyerKinematics.from_urdf("/dev/zero")


def test_a_missing_urdf_is_refused_with_its_cause(tmp_path):
    with pytest.raises(KinematicsError, match="No such file"):
        SawyerKinematics.from_urdf(tmp_path / "none.urdf")


def test_the_package_never_imports_pybullet():
    code = "import sys, ptp_robot; sys.exit('pybullet' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
