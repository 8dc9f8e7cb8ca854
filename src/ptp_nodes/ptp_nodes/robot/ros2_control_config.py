# SPDX-License-Identifier: Apache-2.0
"""Configuration of the ros2_control back-end: joints, topics and services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptp_core.config.checks import require
from ptp_core.errors import ConfigError
from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros.topics import ARM_COMMANDS, JOINT_STATES

__all__ = ["Ros2ControlConfig"]


@dataclass(frozen=True, kw_only=True)
class Ros2ControlConfig:
    """Names of topics, joints and services; names without / are in the node's namespace.

    Sources: documentation of ros2_controllers (Jazzy), joint_state_broadcaster,
    forward_command_controller and joint_trajectory_controller.
    """

    name: str = "ros2_control"  # how the driver calls this robot
    joints: tuple[str, ...] = ARM_JOINTS  # from the base to the tool
    joint_states: str = JOINT_STATES  # sensor_msgs/JointState
    controller: Literal["forward", "trajectory"] = "forward"  # what takes the positions
    commands: str = ARM_COMMANDS  # its topic: Float64MultiArray, or JointTrajectory
    trajectory_time: float = 0.05  # s in which the trajectory controller goes to a point
    silent_after: float = 0.3  # s without joint states until the link counts as down
    moved: float = 0.05  # rad that the arm may differ from where it holds, until it holds anew
    gripper_commands: str = ""  # Float64MultiArray with one number; empty: no gripper
    gripper_sends: tuple[float, ...] = (-1.0, 1.0)  # that number for open, and for closed
    gripper_joint: str = ""  # in the joint states; empty: the gripper is not measured
    gripper_reads: tuple[float, ...] = (0.0, 1.0)  # its position when open, and when closed
    wrench: str = ""  # geometry_msgs/WrenchStamped; empty: none
    wrench_frame: str = "tool0"  # frame of the wrench that turns with the tool
    base_frame: str = "base"  # frame of a wrench that does not
    enabled: str = ""  # std_msgs/Bool, latched: motors on; empty: hearing joint states counts
    enable_service: str = ""  # std_srvs/Trigger for motors on; empty: none
    disable_service: str = ""  # for motors off
    stop_service: str = ""  # for the robot's own stop
    clear_service: str = ""  # for the robot to forget its errors

    def __post_init__(self) -> None:
        require(self, "trajectory_time", 0.005, 1.0)
        require(self, "silent_after", 0.02, 10.0)
        require(self, "moved", 0.001, 0.2)
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ConfigError(f"joints are {list(self.joints)}: name each once")
        for name in ("gripper_sends", "gripper_reads"):
            pair = getattr(self, name)
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ConfigError(f"{name} is {list(pair)}: give two numbers, open and closed")

    def services(self) -> tuple[str, ...]:
        """Names of the services, empty ones too."""
        return self.enable_service, self.disable_service, self.stop_service, self.clear_service
