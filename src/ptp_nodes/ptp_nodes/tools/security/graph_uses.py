# SPDX-License-Identifier: Apache-2.0
"""Topics, services and actions that each node of the running graph uses, by rclpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rclpy.action import (
    get_action_client_names_and_types_by_node,
    get_action_server_names_and_types_by_node,
)
from rclpy.node import Node, NodeNameNonExistentError

from ptp_nodes.tools.security.sros2_policies import Rules
from ptp_ros.node_main import background_node

LOOK = 0.5  # s between looks
INSIDE = "/_action/"  # what an action consists of; rules name the action alone
NUMBER = "std_msgs/msg/Float64"
CHECKER = "policy_check"


def uses(node: Node, names: Iterable[str] | None = None) -> dict[str, Rules]:
    """What each node does now, by its name; ``names``: of these nodes, None: of all but this."""
    there = {
        (name, space)
        for name, space in node.get_node_names_and_namespaces()
        if name != node.get_name() and not name.startswith("_")
    }
    wanted = None if names is None else set(names)
    return {
        name: _use(node, name, space) for name, space in there if wanted is None or name in wanted
    }


def watch(seconds: float, names: Iterable[str] | None = None) -> dict[str, Rules]:
    """What nodes do in ``seconds``, on the domain of ROS_DOMAIN_ID, all looks together."""
    wanted = None if names is None else tuple(names)
    found: dict[str, Rules] = {}
    with background_node(lambda context: Node(CHECKER, context=context)) as node:
        deadline = time.monotonic() + seconds
        while True:
            for name, use in uses(node, wanted).items():
                found[name] = found.get(name, Rules()) | use
            left = deadline - time.monotonic()
            if left <= 0:
                return found
            time.sleep(min(LOOK, left))


def _use(node: Node, name: str, space: str) -> Rules:
    own = f"{space.rstrip('/')}/{name}/"

    def seen(ask: Callable, widen: bool = False) -> frozenset[str]:
        try:
            pairs = ask(name, space)
        except NodeNameNonExistentError:  # it has just gone
            return frozenset()
        return frozenset(
            # Numbers are published under whatever name a figure has.
            f"{own}*" if widen and topic.startswith(own) and NUMBER in kinds else topic
            for topic, kinds in pairs
            if INSIDE not in topic
        )

    return Rules() | Rules(
        publish=seen(node.get_publisher_names_and_types_by_node, widen=True),
        subscribe=seen(node.get_subscriber_names_and_types_by_node),
        reply=seen(node.get_service_names_and_types_by_node),
        request=seen(node.get_client_names_and_types_by_node),
        execute=seen(lambda *who: get_action_server_names_and_types_by_node(node, *who)),
        call=seen(lambda *who: get_action_client_names_and_types_by_node(node, *who)),
    )
