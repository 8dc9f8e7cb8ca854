# SPDX-License-Identifier: Apache-2.0
"""Live standard messages that repeat what ours hold, for programs without our types (LeRobot).

| topic | type | what |
|---|---|---|
| ``observation/<camera>`` | sensor_msgs/Image | the image of a camera, as the policy sees it |
| ``observation/proprioception`` | sensor_msgs/JointState | its numbers, as positions |
| ``arm/command/teleop/twist`` | geometry_msgs/TwistStamped | a person's command, m/s and rad/s |
| ``arm/command/teleop/gripper`` | std_msgs/Float64 | of that command, -1 open to +1 closed |

Only those to whom somebody subscribes are published. Images have the names that they have in bags
(`ptp_core.episodes.standard_messages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import TwistStamped
from ptp_interfaces.msg import CartesianDelta
from ptp_interfaces.msg import Observation as ObservationMessage
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64

from ptp_ros.topics import (
    COMMANDS,
    OBSERVATION,
    PROPRIOCEPTION,
    SENSOR,
    TELEOP_COMMAND_GRIPPER,
    TELEOP_COMMAND_TWIST,
)


class ObservationParts:
    """Publishes each image of an Observation and its proprioception.

    ``cameras``: names, the last words of their topics. ``proprioception``: whether there is any.
    ``managed``: publishers of a life-cycle node, silent while it is inactive.
    """

    def __init__(
        self,
        node: Node,
        cameras: Sequence[str],
        proprioception: bool = False,
        managed: bool = False,
    ) -> None:
        make: Any = node.create_lifecycle_publisher if managed else node.create_publisher
        self._images = {name: make(Image, f"{OBSERVATION}/{name}", SENSOR) for name in cameras}
        self._felt = make(JointState, PROPRIOCEPTION, SENSOR) if proprioception else None

    def publish(self, message: ObservationMessage) -> None:
        """Publish the parts of an Observation; a camera that was not named is left out."""
        for camera, image in zip(message.cameras, message.images):
            publisher = self._images.get(camera)
            if publisher is not None and publisher.get_subscription_count():
                publisher.publish(image)
        if self._felt is not None and self._felt.get_subscription_count():
            felt = JointState(header=message.header, name=message.proprioception_names)
            felt.position = [float(value) for value in message.proprioception]
            self._felt.publish(felt)


class CommandParts:
    """Publishes the commands of a person as velocity and gripper.

    ``rate``: commands a second [Hz]. A command's velocity is its motion times that.
    """

    def __init__(self, node: Node, rate: float) -> None:
        self._rate = rate
        self._twists = node.create_publisher(TwistStamped, TELEOP_COMMAND_TWIST, COMMANDS)
        self._grippers = node.create_publisher(Float64, TELEOP_COMMAND_GRIPPER, COMMANDS)

    def publish(self, command: CartesianDelta) -> None:
        """Publish the parts of a command; one that holds still has no velocity."""
        if self._grippers.get_subscription_count():
            self._grippers.publish(Float64(data=command.gripper))
        if not self._twists.get_subscription_count():
            return
        message = TwistStamped(header=command.header)
        if command.dead_man:
            linear = message.twist.linear
            linear.x, linear.y, linear.z = (
                value * self._rate for value in (command.dx, command.dy, command.dz)
            )
            message.twist.angular.z = command.dyaw * self._rate
        self._twists.publish(message)
