# SPDX-License-Identifier: Apache-2.0
"""The URDF carries the manufacturer's figures and stays cheap to render."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pybullet
import pytest

from ptp_description import sawyer_urdf_path

HALF_PI = np.pi / 2
# joint: xyz [m], rpy [rad], lower, upper [rad], velocity [rad/s], effort [Nm]
JOINTS = {
    "right_j0": ((0, 0, 0.08), (0, 0, 0), -3.0503, 3.0503, 1.74, 80),
    "right_j1": ((0.081, 0.05, 0.237), (-HALF_PI, HALF_PI, 0), -3.8095, 2.2736, 1.328, 80),
    "right_j2": ((0, -0.14, 0.1425), (HALF_PI, 0, 0), -3.0426, 3.0426, 1.957, 40),
    "right_j3": ((0, -0.042, 0.26), (-HALF_PI, 0, 0), -3.0439, 3.0439, 1.957, 40),
    "right_j4": ((0, -0.125, -0.1265), (HALF_PI, 0, 0), -2.9761, 2.9761, 3.485, 9),
    "right_j5": ((0, 0.031, 0.275), (-HALF_PI, 0, 0), -2.9761, 2.9761, 3.485, 9),
    "right_j6": ((0, -0.11, 0.1053), (-HALF_PI, -0.17453, 3.1416), -4.7124, 4.7124, 4.545, 9),
}
# link: mass [kg], centre of mass [m], ixx, iyy, izz [kg m^2]
LINKS = {
    "right_arm_base_link": (
        2.0687,
        (-0.0006241, -2.8025e-5, 0.065404),
        (0.0067599, 0.0067877, 0.0074031),
    ),
    "right_l0": (5.3213, (0.024366, 0.010969, 0.14363), (0.053314, 0.057902, 0.023659)),
    "head": (1.5795, (0.0053207, -2.6549e-5, 0.1021), (0.011833, 0.0082709, 0.0049661)),
    "right_l1": (4.505, (-0.0030849, -0.026811, 0.092521), (0.022398, 0.014613, 0.017295)),
    "right_l2": (1.745, (-0.00016044, -0.014967, 0.13582), (0.025506, 0.0253, 0.0034179)),
    "right_l3": (2.5097, (-0.0048135, -0.0281, -0.084154), (0.01016, 0.0065685, 0.0069078)),
    "right_l4": (1.1136, (-0.0018844, 0.0069001, 0.1341), (0.013557, 0.013555, 0.0013658)),
    "right_l5": (1.5625, (0.0061133, -0.023697, 0.076416), (0.0047328, 0.0029676, 0.0031762)),
    "right_l6": (
        0.3292,
        (-8.0726e-6, 0.0085838, -0.0049566),
        (0.00031105, 0.00021549, 0.00035976),
    ),
}


@pytest.fixture(scope="module")
def robot() -> ElementTree.Element:
    return ElementTree.parse(sawyer_urdf_path()).getroot()


@pytest.fixture
def client():
    number = pybullet.connect(pybullet.DIRECT)
    yield number
    pybullet.disconnect(number)


def numbers(element: ElementTree.Element, key: str) -> list[float]:
    return [float(value) for value in element.get(key).split()]


def test_joint_origins_and_limits_are_the_published_ones(robot):
    for name, (xyz, rpy, lower, upper, velocity, effort) in JOINTS.items():
        joint = robot.find(f"joint[@name='{name}']")
        np.testing.assert_allclose(numbers(joint.find("origin"), "xyz"), xyz, atol=1e-12)
        np.testing.assert_allclose(numbers(joint.find("origin"), "rpy"), rpy, atol=1e-10)
        np.testing.assert_array_equal(numbers(joint.find("axis"), "xyz"), (0, 0, 1))
        limit = joint.find("limit")
        values = [float(limit.get(key)) for key in ("lower", "upper", "velocity", "effort")]
        assert values == [lower, upper, velocity, effort]


def test_masses_and_inertias_are_the_published_ones(robot):
    for name, (mass, centre, diagonal) in LINKS.items():
        inertial = robot.find(f"link[@name='{name}']/inertial")
        assert float(inertial.find("mass").get("value")) == mass
        assert numbers(inertial.find("origin"), "xyz") == list(centre)
        inertia = inertial.find("inertia")
        assert tuple(float(inertia.get(key)) for key in ("ixx", "iyy", "izz")) == diagonal


def test_every_inertia_tensor_is_physical(robot):
    for link in robot.findall("link"):
        inertial = link.find("inertial")
        assert inertial is not None, "PyBullet gives 1 kg to a link without inertial"
        if float(inertial.find("mass").get("value")) == 0.0:
            continue
        i = {key: float(value) for key, value in inertial.find("inertia").items()}
        tensor = np.array(
            [
                [i["ixx"], i["ixy"], i["ixz"]],
                [i["ixy"], i["iyy"], i["iyz"]],
                [i["ixz"], i["iyz"], i["izz"]],
            ]
        )
        small, middle, large = np.linalg.eigvalsh(tensor)
        assert small > 0.0
        assert small + middle >= large, link.get("name")


def test_tool_weighs_what_the_gripper_weighs(robot):
    tool = ("right_hand", "gripper_base", "gripper_tip", "gripper_l_finger", "gripper_r_finger")
    masses = [robot.find(f"link[@name='{name}']/inertial/mass").get("value") for name in tool]
    assert sum(map(float, masses)) == pytest.approx(0.47)


def test_link_and_joint_names_never_clash(robot):
    links = {link.get("name") for link in robot.findall("link")}
    joints = {joint.get("name") for joint in robot.findall("joint")}
    assert not links & joints
    assert {"base", "right_hand", "gripper_base", "gripper_tip"} <= links


def test_shapes_are_boxes_so_that_rendering_stays_cheap(robot):
    shapes = [shape for geometry in robot.iter("geometry") for shape in geometry]
    assert {shape.tag for shape in shapes} == {"box"}
    assert len(robot.findall("link/visual")) <= 16


def test_pads_meet_when_closed_and_leave_80_mm_when_open(client):
    body = pybullet.loadURDF(sawyer_urdf_path(), useFixedBase=True, physicsClientId=client)
    joints = {
        pybullet.getJointInfo(body, i, physicsClientId=client)[1].decode(): i
        for i in range(pybullet.getNumJoints(body, physicsClientId=client))
    }
    left, right = joints["gripper_l_finger_joint"], joints["gripper_r_finger_joint"]

    def gap(opening: float) -> float:
        for joint in (left, right):
            pybullet.resetJointState(body, joint, opening, physicsClientId=client)
        points = pybullet.getClosestPoints(body, body, 0.2, left, right, physicsClientId=client)
        return min(point[8] for point in points)

    assert gap(0.0) == pytest.approx(0.0, abs=1e-4)
    assert gap(0.04) == pytest.approx(0.08, abs=1e-4)


def test_tip_lies_135_mm_beyond_the_hand_and_inside_the_pads(client):
    body = pybullet.loadURDF(sawyer_urdf_path(), useFixedBase=True, physicsClientId=client)
    links = {
        pybullet.getJointInfo(body, i, physicsClientId=client)[12].decode(): i
        for i in range(pybullet.getNumJoints(body, physicsClientId=client))
    }

    def pose(name: str) -> tuple:
        return pybullet.getLinkState(body, links[name], physicsClientId=client)[4:6]

    hand, tip = pose("right_hand"), pose("gripper_tip")
    inverse = pybullet.invertTransform(*hand)
    offset, _ = pybullet.multiplyTransforms(*inverse, *tip)
    np.testing.assert_allclose(offset, (0, 0, 0.135), atol=1e-6)
    finger = pybullet.getLinkState(body, links["gripper_l_finger"], physicsClientId=client)
    joint_to_tip = np.linalg.norm(np.subtract(tip[0], finger[4]))
    assert 0.0665 - 0.0185 < joint_to_tip < 0.0665 + 0.0185
