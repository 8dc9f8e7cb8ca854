# SPDX-License-Identifier: Apache-2.0
"""Console that runs the fake controllers without `ros2 run`, and sets faults by typing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from rclpy.parameter import Parameter

from ptp_nodes.nodes.fake_controllers_node import FAULTS, FakeControllers
from ptp_ros.node_main import background_node

__all__ = ["HELP", "serve"]

HELP = "\n".join(
    (
        "type a fault to bring it about, `mend FAULT` to end it:",
        *(f"  {name:<15} {what}" for name, what in FAULTS.items()),
        "`show` says how the arm is, `quit` ends it",
    )
)


def serve(
    lines: Iterable[str], say: Callable[[str], None], domain: int | None = None, **values: Any
) -> None:
    """Run the node with these parameters while obeying ``lines``; return at `quit`.

    The end of the lines is no end: without a terminal it runs until KeyboardInterrupt.
    ``domain`` None: that of ROS_DOMAIN_ID.
    """
    given = [Parameter(name, value=value) for name, value in values.items()]
    with background_node(
        lambda context: FakeControllers(context=context, parameter_overrides=given), domain
    ) as node:
        node.start()
        try:
            say(f"fake controllers on ROS domain {node.context.get_domain_id()}\n{HELP}")
            for line in lines:
                words = line.split()
                if words[:1] == ["quit"]:
                    return
                if words:
                    say(_obey(node, words))
            threading.Event().wait()
        finally:
            node.stop()


def _obey(node: FakeControllers, words: list[str]) -> str:
    match words:
        case ["show"]:
            q = np.round(node.joints(), 3).tolist()
            faults = ", ".join(sorted(node.faults)) or "none"
            motors = "on" if node.motors else "off"
            return f"motors {motors}, joints {q}, {node.received} commands, faults: {faults}"
        case ["mend", name] if name in FAULTS:
            node.faults = node.faults - {name}
            return f"{name} is over"
        case [name] if name in FAULTS:
            node.faults = node.faults | {name}
            return f"{name}: {FAULTS[name]}"
    return f"not understood: {' '.join(words)}\n{HELP}"
