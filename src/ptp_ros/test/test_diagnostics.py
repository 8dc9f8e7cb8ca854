# SPDX-License-Identifier: Apache-2.0
"""Every node's health can be read on /diagnostics."""

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ptp_ros.diagnostics import WARN, Diagnostics
from ptp_ros.graph_testing import Graph


def test_a_status_is_published_with_its_figures():
    with Graph() as graph:
        seen = graph.collect(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        node = Node("eye", context=graph.context)
        Diagnostics(node, lambda: (WARN, "tired", {"latency_ms": 1.25, "seen": 3}), period=0.01)
        graph.add(node)
        graph.wait(lambda: seen, "diagnostics")
    (status,) = seen[0].status
    assert (status.level, status.name, status.message) == (WARN, "/eye", "tired")
    assert {v.key: v.value for v in status.values} == {"latency_ms": "1.25", "seen": "3"}
