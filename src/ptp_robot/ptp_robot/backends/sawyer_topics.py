# SPDX-License-Identifier: Apache-2.0
"""Topics of a Sawyer that this project uses, with the allow-list of those it may send to.

Names and types: Rethink's intera_core_msgs and SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    *("COLLISION", "COMMAND", "COMMAND_TIMEOUT", "ENABLE", "ENDPOINT", "GRIPPER_COMMAND"),
    *("GRIPPER_STATE", "JOINTS", "LIMITS", "RESET", "SAWYER", "SPEED_RATIO", "STATE", "STOP"),
    *("TIME_SERVICE", "AllowList", "Forbidden"),
]

# subscribed
JOINTS = "/robot/joint_states"
STATE = "/robot/state"
LIMITS = "/robot/joint_limits"
ENDPOINT = "/robot/limb/right/endpoint_state"
COLLISION = "/robot/limb/right/collision_detection_state"
GRIPPER_STATE = "/io/end_effector/right_gripper/state"

# published
ENABLE = "/robot/set_super_enable"
RESET = "/robot/set_super_reset"
STOP = "/robot/set_super_stop"
COMMAND = "/robot/limb/right/joint_command"
COMMAND_TIMEOUT = "/robot/limb/right/joint_command_timeout"
SPEED_RATIO = "/robot/limb/right/set_speed_ratio"
GRIPPER_COMMAND = "/io/end_effector/right_gripper/command"

TIME_SERVICE = "/rosapi/get_time"  # harmless: measures the round trip


class Forbidden(ValueError):
    """A message that the allow-list does not have: a programming error."""


@dataclass(frozen=True)
class AllowList:
    """Topics to types: what may be subscribed to and published, and services that may be called.

    The robot's ``suppress_*`` topics turn its own safety off. No list may have them.
    """

    heard: Mapping[str, str]
    sent: Mapping[str, str]
    latched: frozenset[str] = frozenset()  # of ``sent``: latched, for a robot that connects later
    services: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name in (*self.sent, *self.services):
            if "suppress" in name.lower():
                raise Forbidden(f"{name} turns a safety function of the robot off; never sent")
        if stray := self.latched - self.sent.keys():
            raise Forbidden(f"latched, but not sent: {', '.join(sorted(stray))}")

    def check(self, operation: str, name: str) -> None:
        """Raise Forbidden unless this operation of the rosbridge protocol may name this topic."""
        of = {
            "subscribe": self.heard,
            "advertise": self.sent,
            "publish": self.sent,
            "call_service": self.services,
        }
        if name not in of.get(operation, ()):
            raise Forbidden(f"{operation} {name} is not in the allow-list and was not sent")


SAWYER = AllowList(
    heard={
        JOINTS: "sensor_msgs/JointState",
        STATE: "intera_core_msgs/RobotAssemblyState",
        LIMITS: "intera_core_msgs/JointLimits",
        ENDPOINT: "intera_core_msgs/EndpointState",
        COLLISION: "intera_core_msgs/CollisionDetectionState",
        GRIPPER_STATE: "intera_core_msgs/IODeviceStatus",
    },
    sent={
        ENABLE: "std_msgs/Bool",
        RESET: "std_msgs/Empty",
        STOP: "std_msgs/Empty",
        COMMAND: "intera_core_msgs/JointCommand",
        COMMAND_TIMEOUT: "std_msgs/Float64",
        SPEED_RATIO: "std_msgs/Float64",
        GRIPPER_COMMAND: "intera_core_msgs/IOComponentCommand",
    },
    latched=frozenset({COMMAND_TIMEOUT, SPEED_RATIO}),
    services=frozenset({TIME_SERVICE}),
)
