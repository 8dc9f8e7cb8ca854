# SPDX-License-Identifier: Apache-2.0
"""Registry of back-ends by name. A back-end is imported when it is requested."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.node import Node

from ptp_core.config.loading import from_dict
from ptp_core.errors import ConfigError, quoted
from ptp_robot.backends.backend import Backend

__all__ = ["BACKENDS", "make_backend"]

_ON_THE_GRAPH = ("ptp_nodes.robot.ros2_control_backend", "Ros2ControlBackend", "Ros2ControlConfig")
# Name: module, class of the back-end, class of its configuration.
BACKENDS = {
    "fake": ("ptp_robot.backends.fake_backend", "FakeBackend", "FakeConfig"),
    "sawyer": ("ptp_robot.backends.sawyer", "SawyerBackend", "SawyerConfig"),
    "ros2_control": _ON_THE_GRAPH,
    "sim_joint": _ON_THE_GRAPH,  # the simulator takes joint commands like any ros2_control
}


def make_backend(
    name: str,
    node: Node,
    config: dict[str, Any],
    source: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Backend:
    """The back-end ``name`` with the settings of a robot file's ``backend`` section.

    ``node`` is for back-ends that talk on the graph; ``source`` names the file in errors;
    ``clock`` is that of the arm in memory. Raises ConfigError for an unknown name or key, and
    where a package that the back-end needs is missing.
    """
    if name not in BACKENDS:
        raise ConfigError(f"no back-end {quoted(name)}: use one of {', '.join(BACKENDS)}")
    module_name, kind, settings_kind = BACKENDS[name]
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"the back-end {quoted(name)} cannot be loaded: {error}") from error
    settings = from_dict(
        getattr(module, settings_kind),
        config,
        source=source or f"back-end {quoted(name)}",
        prefix="backend.",
    )
    make: Callable[..., Backend] = getattr(module, kind)
    if name == "fake":
        return make(clock, config=settings)
    if name == "sawyer":
        return make(settings)
    return make(node, settings)
