# SPDX-License-Identifier: Apache-2.0
"""Node of the monitor: a `WatchNode` with the arm and every scalar topic."""

from __future__ import annotations

from functools import partial

from ptp_interfaces.msg import ArmState
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from ptp_nodes.operator.episode_watcher import WatchNode
from ptp_nodes.tools.monitor.monitor_board import Board
from ptp_ros.topics import ARM_STATE, COMMANDS, JOINT_STATES, LATCHED, RECORDS

SCALAR = "std_msgs/msg/Float64"
KEPT = QoSProfile(depth=50, reliability=LATCHED.reliability, durability=LATCHED.durability)


class MonitorNode(WatchNode):
    """Passes messages to a Board."""

    def __init__(self, board: Board, **options) -> None:
        super().__init__(board, name="monitor", **options)
        self._board = board
        self._curves: set[str] = set()
        self.create_subscription(JointState, JOINT_STATES, self._joints_moved, COMMANDS)
        self.create_subscription(ArmState, ARM_STATE, self._arm_moved, RECORDS)

    def _beat(self) -> None:
        super()._beat()
        for topic, types in self.get_topic_names_and_types():
            if types != [SCALAR] or topic in self._curves:
                continue
            for writer in self.get_publishers_info_by_topic(topic):
                full = f"{writer.node_namespace.rstrip('/')}/{writer.node_name}/"
                if topic.startswith(full):  # as `Scalars` names them
                    self._curves.add(topic)
                    note = partial(self._counted, writer.node_name, topic.removeprefix(full))
                    self.create_subscription(Float64, topic, note, KEPT)
                    break

    def _counted(self, node: str, name: str, message: Float64) -> None:
        self._board.number(node, name, message.data)

    def _joints_moved(self, message: JointState) -> None:
        self._board.joints(dict(zip(message.name, message.position)))

    def _arm_moved(self, message: ArmState) -> None:
        position = message.pose.position
        self._board.tool((position.x, position.y, position.z))
