# SPDX-License-Identifier: Apache-2.0
"""Conversion of a stack to launch_ros actions. Needs launch and launch_ros of ROS 2."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.actions import Shutdown as ShutdownAction
from launch.event_handlers import OnShutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node as NodeAction

from ptp_bringup.bring_up import log_folder, middleware_variables
from ptp_bringup.declarations import Argument, Node
from ptp_bringup.stacks import NodeProcess, Stack
from ptp_bringup.supervisor import has_begun
from ptp_core.errors import PtpError

# Ctrl-C in a terminal sends SIGINT to every process at once. A Python process that still imports
# would print a traceback, so nodes start with SIGINT ignored. A started node handles SIGINT.
IGNORE_SIGINT = "env --ignore-signal=INT"

# Arguments of launch itself, which `ros2 launch` passes on together with ours.
OF_LAUNCH = ("launch-prefix", "launch-prefix-filter", "sigterm_timeout", "sigkill_timeout")


def launch_description(stack: Stack) -> LaunchDescription:
    """Launch description of a stack: its arguments, and its nodes for the values given.

    When it runs it raises ConfigError and CheckpointError before any process is started.
    """

    # An OpaqueFunction, so that `ptp up` and launch use the same code.
    def start(context: LaunchContext) -> list:
        _check_names(stack, context)
        given = {
            argument.name: LaunchConfiguration(argument.name).perform(context)
            for argument in stack.arguments
        }
        actions = [
            node_action(process, _prefix(process.node, context))
            for process in stack.processes(given)
        ]
        return [
            *actions,
            RegisterEventHandler(OnShutdown(on_shutdown=_end_starting_nodes(actions))),
        ]

    logs = log_folder(os.environ)
    variables = middleware_variables()
    for name, value in {
        **logs.variables,
        "OMP_NUM_THREADS": "1",  # nodes set their number of threads themselves
        "PYTHONUNBUFFERED": "1",
    }.items():
        variables[name] = os.environ.get(name, value)
    return LaunchDescription(
        [
            *(_declaration(argument) for argument in stack.arguments),
            *([LogInfo(msg=logs.line)] if logs.line else []),
            *(SetEnvironmentVariable(name, value) for name, value in variables.items()),
            OpaqueFunction(function=start),
        ]
    )


def _declaration(argument: Argument) -> DeclareLaunchArgument:
    limits = argument.limits() if argument.several or not argument.choices else ""
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default,
        description=f"{argument.description} ({limits})" if limits else argument.description,
        choices=None if argument.several or not argument.choices else list(argument.choices),
    )


def _check_names(stack: Stack, context: LaunchContext) -> None:
    """Raise ConfigError for an argument that the stack does not have.

    launch accepts any name. If another launch file includes this one, the arguments may belong to
    the other one, so they are not checked.
    """
    file = f"{stack.name}.launch.py"
    if any(Path(word).name == file for word in sys.argv):
        for word in context.argv:
            name, assigned, _ = word.partition(":=")
            if assigned and name not in OF_LAUNCH:
                stack.check_name(name)


def _prefix(node: Node, context: LaunchContext) -> str:
    """Prefix of a node's command: ours, then the ``launch-prefix`` of the user."""
    pattern = LaunchConfiguration("launch-prefix-filter", default="").perform(context)
    if not re.match(pattern, node.executable):
        return IGNORE_SIGINT
    of_user = LaunchConfiguration("launch-prefix", default="").perform(context)
    return f"{IGNORE_SIGINT} {of_user}".rstrip()


def node_action(process: NodeProcess, prefix: str = IGNORE_SIGINT) -> NodeAction | LogInfo:
    """Action that starts a node, or a log line for an optional node that is not installed."""
    node = process.node
    if node.optional:
        try:
            get_package_prefix(node.package)
        except PackageNotFoundError:
            return LogInfo(msg=f"{node.name} is left out: {node.package} is not installed")
    parameters = [process.defaults, process.params_file, process.explicit]
    return NodeAction(
        package=node.package,
        executable=node.executable,
        name=node.name,
        exec_name=node.executable,
        output="screen",
        prefix=prefix,
        parameters=[entry for entry in parameters if entry],
        arguments=[
            *process.arguments,
            *("--ros-args", "--enclave", process.enclave),
            *("--log-level", process.log_level),
        ],
        remappings=list(node.remappings),
        on_exit=_on_exit(node),
        respawn=node.respawn,
        respawn_delay=1.0 if node.respawn else None,
    )


def _on_exit(node: Node):
    """Handler of a node's end, with the rules of `ptp_bringup.supervisor`."""

    def ended(event: ProcessExited, context: LaunchContext) -> list:
        if context.is_shutdown:
            return []
        if node.essential and event.returncode == 0:
            return [ShutdownAction(reason=f"{node.name} has finished")]
        if node.essential and not node.respawn:
            # launch ends with exit code 1 only if an exception is raised.
            raise PtpError(f"{node.name} died (exit code {event.returncode})")
        if node.respawn and event.returncode != 0:
            return [LogInfo(msg=f"{node.name} died (exit code {event.returncode})")]
        return []

    return ended


def _end_starting_nodes(actions: list):
    """Handler that ends processes that still start: they ignore SIGINT, so they get SIGTERM."""

    def stop(event, context: LaunchContext) -> None:
        for action in actions:
            details = action.process_details if isinstance(action, NodeAction) else None
            if details and not has_begun(details["pid"]):
                try:
                    os.kill(details["pid"], signal.SIGTERM)
                except ProcessLookupError:
                    continue

    return stop
