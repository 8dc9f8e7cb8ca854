# SPDX-License-Identifier: Apache-2.0
"""The simulated Sawyer: Cartesian steps in, joint targets out, and the two ways to grasp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pybullet

from ptp_description import sawyer_urdf_path
from ptp_robot.action import CartesianDelta, Workspace
from ptp_robot.kinematics import SawyerKinematics
from ptp_sim.scene import BLOCK_SIZE, wrap_half_turn

GRASPS = ("assisted", "physical")
PARKED = (0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 0.1745)
"""Joints [rad] of the manufacturer's neutral pose: the hand is high over the table."""


@dataclass(frozen=True)
class ArmConfig:
    """How the arm follows its commands (reference: the authors' environment).

    Attributes:
        joint_force: strongest joint motor effort [N m].
        finger_force: strongest finger effort [N].
        grasp_radius: assisted grasp takes the block within this horizontal distance [m].
        grasp_force: strength of the assisted grasp [N].

    """

    joint_force: float = 100.0
    finger_force: float = 30.0
    grasp_radius: float = 0.04
    grasp_force: float = 100.0


def yaw_of(rotation) -> float:
    """Yaw [rad] of a tool that points down, from its rotation (3, 3) in the base frame."""
    return math.atan2(-rotation[1][0], -rotation[0][0])


class SimArm:
    """Drives the arm's body in one PyBullet client.

    The law is the authors': the target is the measured pose plus the commanded delta, clipped to
    the workspace, and the joint motors have one control step to get there. They cover about two
    thirds of the way.
    """

    def __init__(
        self,
        client: int,
        workspace: Workspace,
        grasp: str = "assisted",
        config: ArmConfig | None = None,
    ):
        if grasp not in GRASPS:
            raise ValueError(f"unknown grasp '{grasp}': use one of {', '.join(GRASPS)}")
        self.config = config or ArmConfig()
        self.grasp = grasp
        self.workspace = workspace
        self._client = client
        path = sawyer_urdf_path()
        self.kinematics = SawyerKinematics.from_urdf(path)
        self.body = pybullet.loadURDF(path, useFixedBase=True, physicsClientId=client)
        self._read_joints()
        self.setpoint = self.pose()  # what the tool was told last
        self._constraint: int | None = None
        self._block: int | None = None

    def _read_joints(self) -> None:
        arm, fingers, self._hand_links = [], [], []
        for index in range(pybullet.getNumJoints(self.body, physicsClientId=self._client)):
            info = pybullet.getJointInfo(self.body, index, physicsClientId=self._client)
            kind, link = info[2], info[12].decode()
            if kind == pybullet.JOINT_REVOLUTE:
                arm.append(index)
            elif kind == pybullet.JOINT_PRISMATIC:
                fingers.append(index)
                self._finger_open = float(info[9])
            if link == "gripper_tip":
                self._tip = index
            if "hand" in link or "gripper" in link:
                self._hand_links.append(index)
            pybullet.changeDynamics(
                self.body, index, jointDamping=0.0, physicsClientId=self._client
            )
        self._arm_joints, self._finger_joints = arm, fingers
        self._joints = arm + fingers
        self._forces = [self.config.joint_force] * len(arm)
        self._forces += [self.config.finger_force] * len(fingers)
        self._fingers = [self._finger_open] * len(fingers)  # where they are sent

    def attach_to(self, block: int) -> None:
        """Name the body that can be grasped, once; `grasp_body` names another one later."""
        self.grasp_body(block)
        for finger in self._finger_joints:
            pybullet.changeDynamics(
                self.body, finger, lateralFriction=1.5, physicsClientId=self._client
            )

    def fix_contact_order(self) -> None:
        """Make episodes independent of whether the block was grasped before them. Call it once.

        A grasp gives pairs of hand and block to Bullet's collision filter, and from then on its
        contacts have another order, which moves the hand by 0.1 mm within steps. Here the pairs
        are given to it before the first episode. Tasks A to F keep the order that they had.
        """
        self._collide_with_block(True)

    def grasp_body(self, block: int) -> None:
        """Name the body that can be grasped, while none is held."""
        self._block = block

    @property
    def holding(self) -> bool:
        """Whether the assisted grasp holds the block."""
        return self._constraint is not None

    def joint_positions(self) -> np.ndarray:
        """Measured arm joints: float64 (7,) [rad]."""
        return self.joint_states()[0]

    def joint_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured arm joints and their velocities: float64 (7,) [rad] and (7,) [rad/s]."""
        states = pybullet.getJointStates(self.body, self._arm_joints, physicsClientId=self._client)
        return np.array([s[0] for s in states]), np.array([s[1] for s in states])

    def opening(self) -> float:
        """Measured distance between the finger pads [m]."""
        states = pybullet.getJointStates(
            self.body, self._finger_joints, physicsClientId=self._client
        )
        return float(sum(s[0] for s in states))

    def pose(self) -> tuple[np.ndarray, float]:
        """Measured tool centre point (3,) [m] and yaw [rad]."""
        position, rotation = self.kinematics.forward(self.joint_positions())
        return np.asarray(position), yaw_of(rotation)

    def place(self, position, yaw: float) -> None:
        """Put the arm at rest at a pose, with the gripper open. For resets only.

        Raises:
            ValueError: the pose is out of reach.

        """
        self.release()
        q = self.kinematics.rest_configuration
        result = self.kinematics.solve(q, position, yaw, iterations=200)
        if not result.ok:
            raise ValueError(
                f"start pose {np.round(position, 3)} yaw {yaw:.2f} is out of reach "
                f"(off by {result.position_error * 1e3:.1f} mm)"
            )
        self._fingers = [self._finger_open] * len(self._finger_joints)
        targets = [*result.q, *self._fingers]
        for joint, target in zip(self._joints, targets, strict=True):
            pybullet.resetJointState(self.body, joint, target, 0.0, physicsClientId=self._client)
        self.setpoint = self.pose()
        self._drive(targets)

    def park(self) -> None:
        """Let go and stand clear of the table. For resets only."""
        self.release()
        for joint, angle in zip(self._arm_joints, PARKED, strict=True):
            pybullet.resetJointState(self.body, joint, angle, 0.0, physicsClientId=self._client)

    def command(self, delta: CartesianDelta) -> None:
        """Set the joint motors for one control step, and grasp or let go."""
        q = self.joint_positions()
        position, rotation = self.kinematics.forward(q)
        yaw = yaw_of(rotation)
        target = self.workspace.clip(position + delta.translation)
        self.setpoint = target, yaw + delta.dyaw
        result = self.kinematics.solve(q, *self.setpoint)
        self.grip(delta.gripper)
        self.follow(result.q)

    def grip(self, gripper: float) -> None:
        """Set the fingers, -1 open to +1 closed, and grasp or let go."""
        self._grip(gripper)
        finger = self._finger_open * (1.0 - 0.5 * (1.0 + gripper))
        if self.holding:
            finger = max(finger, 0.5 * BLOCK_SIZE[1] + 0.001)
        self._fingers = [finger] * len(self._finger_joints)

    def follow(self, q) -> None:
        """Let the motors go to joints (7,) [rad], and to the fingers that were set last."""
        self._drive([*q, *self._fingers])

    def _drive(self, targets: list[float]) -> None:
        pybullet.setJointMotorControlArray(
            self.body,
            self._joints,
            pybullet.POSITION_CONTROL,
            targetPositions=targets,
            forces=self._forces,
            physicsClientId=self._client,
        )

    def _grip(self, gripper: float) -> None:
        if self.grasp != "assisted" or self._block is None:
            return
        if gripper < 0:
            self.release()
        elif gripper > 0 and not self.holding:
            block, orientation = pybullet.getBasePositionAndOrientation(
                self._block, physicsClientId=self._client
            )
            tip, _ = self.kinematics.forward(self.joint_positions())
            away = np.hypot(block[0] - tip[0], block[1] - tip[1])
            if away < self.config.grasp_radius:
                self._hold(orientation)

    def _hold(self, block_orientation) -> None:
        tip = pybullet.getLinkState(self.body, self._tip, physicsClientId=self._client)
        inverse = pybullet.invertTransform((0, 0, 0), tip[5])[1]
        relative = pybullet.multiplyTransforms((0, 0, 0), inverse, (0, 0, 0), block_orientation)
        # The block turns by the least angle that lays its narrow side between the fingers.
        yaw = pybullet.getEulerFromQuaternion(relative[1])[2]
        turn = pybullet.getQuaternionFromEuler((0, 0, -wrap_half_turn(yaw)))
        frame = pybullet.multiplyTransforms((0, 0, 0), turn, (0, 0, 0), relative[1])[1]
        self._constraint = pybullet.createConstraint(
            self.body,
            self._tip,
            self._block,
            -1,
            pybullet.JOINT_FIXED,
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            parentFrameOrientation=frame,
            physicsClientId=self._client,
        )
        pybullet.changeConstraint(
            self._constraint, maxForce=self.config.grasp_force, physicsClientId=self._client
        )
        self._collide_with_block(False)

    def release(self) -> None:
        """Let go of the block."""
        if self._constraint is not None:
            pybullet.removeConstraint(self._constraint, physicsClientId=self._client)
            self._constraint = None
            self._collide_with_block(True)

    def _collide_with_block(self, enabled: bool) -> None:
        for link in self._hand_links:
            pybullet.setCollisionFilterPair(
                self.body, self._block, link, -1, int(enabled), physicsClientId=self._client
            )
