# SPDX-License-Identifier: Apache-2.0
"""What a person commands with a device of the stack. LeRobot is not needed here.

Source of the topics: the node `teleop` with another source than twist, which repeats each of its
commands as a velocity in the frame "base" and a gripper.
"""

from __future__ import annotations

import time

import numpy as np
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64

from lerobot_robot_ptp.action_units import FRAME, ActionUnits
from lerobot_robot_ptp.ros_link import COMMANDS, RosLink

TWIST, GRIPPER = "arm/command/teleop/twist", "arm/command/teleop/gripper"
OPEN = -1.0  # what the stack's devices begin with


class PersonLink(RosLink):
    """Hears the commands of a person.

    Args:
        units: what actions mean.
        patience: s after which a command counts as let go.
        domain: of ROS; None: that of ROS_DOMAIN_ID.

    """

    def __init__(
        self, units: ActionUnits, patience: float = 0.3, domain: int | None = None
    ) -> None:
        super().__init__("lerobot_teleop", domain)
        self.units = units
        self._patience = patience
        self._twist: tuple[float, TwistStamped] | None = None  # when, newest
        self._gripper = OPEN
        self.node.create_subscription(TwistStamped, TWIST, self._moved, COMMANDS)
        self.node.create_subscription(Float64, GRIPPER, self._gripped, COMMANDS)
        self.start()

    def wait(self, seconds: float) -> None:
        """Wait for the stack's device. ConnectionError where there is none after ``seconds``."""
        topic = self.node.resolve_topic_name(TWIST)
        if not self.found(lambda: self.node.count_publishers(topic), seconds):
            raise ConnectionError(
                f"nobody publishes {topic}: start the stack with a person's device, such as "
                "source:=keyboard, in this ROS domain"
            )

    def action(self) -> np.ndarray:
        """The newest action (5,) in [-1, 1]; one that holds still while nothing is commanded.

        Raises ValueError for a velocity in another frame or one that is not finite.
        """
        with self.news:
            newest, gripper = self._twist, self._gripper
        motion = np.zeros(4)
        if newest is not None and time.monotonic() - newest[0] <= self._patience:
            message = newest[1]
            if message.header.frame_id != FRAME:
                raise ValueError(
                    f"a command's velocity is in frame {message.header.frame_id!r}; {FRAME!r} is "
                    "needed"
                )
            linear = message.twist.linear
            velocity = linear.x, linear.y, linear.z, message.twist.angular.z
            motion = self.units.motion(velocity)
        return self.units.check([*motion, gripper])

    def _moved(self, message: TwistStamped) -> None:
        with self.news:
            self._twist = time.monotonic(), message

    def _gripped(self, message: Float64) -> None:
        with self.news:
            self._gripper = message.data
