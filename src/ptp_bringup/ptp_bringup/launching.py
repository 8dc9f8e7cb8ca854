# SPDX-License-Identifier: Apache-2.0
"""A stack as launch_ros actions. Needs launch and launch_ros, which come with ROS 2."""

from __future__ import annotations

import os

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from ptp_bringup.log_folder import log_folder
from ptp_bringup.middleware import variables
from ptp_bringup.stack import NodeSpec, Process, Stack


def describe(stack: Stack) -> LaunchDescription:
    """Launch description of a stack: its arguments, and its nodes for the values given."""
    arguments = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in stack.arguments
    ]

    # Opaque, because the same function decides for `ptp up`: two descriptions would drift apart.
    def start(context: LaunchContext) -> list:
        given = {
            argument.name: LaunchConfiguration(argument.name).perform(context)
            for argument in stack.arguments
        }
        return [action for process in stack.processes(given) for action in _actions(process)]

    logs = log_folder(os.environ)
    environment = [SetEnvironmentVariable(name, value) for name, value in variables().items()]
    environment += [
        SetEnvironmentVariable(name, os.environ.get(name, value))
        for name, value in {
            **logs.variables,
            "OMP_NUM_THREADS": "1",  # nodes say themselves how many threads they use
            "PYTHONUNBUFFERED": "1",
        }.items()
    ]
    said = [LogInfo(msg=logs.line)] if logs.line else []
    return LaunchDescription([*arguments, *said, *environment, OpaqueFunction(function=start)])


def _actions(process: Process) -> list:
    spec = process.spec
    if spec.optional:
        try:
            get_package_prefix(spec.package)
        except PackageNotFoundError:
            return [LogInfo(msg=f"{spec.name} is left out: {spec.package} is not installed")]
    parameters = [process.defaults, process.params_file, process.explicit]
    return [
        Node(
            package=spec.package,
            executable=spec.executable,
            name=spec.name,
            output="screen",
            parameters=[entry for entry in parameters if entry],
            arguments=[
                *process.arguments,
                *("--ros-args", "--enclave", process.enclave),
                *("--log-level", process.log_level),
            ],
            remappings=list(spec.remap),
            on_exit=_on_exit(spec),
            respawn=spec.respawn,
            respawn_delay=1.0 if spec.respawn else None,
        )
    ]


def _on_exit(spec: NodeSpec):
    """What the end of a node means, as for `ptp_bringup.supervisor`."""

    def ended(event: ProcessExited, context: LaunchContext) -> list:
        if spec.essential and (event.returncode == 0 or not spec.respawn):
            return [Shutdown(reason=f"{spec.name} ended")]
        if spec.respawn and event.returncode != 0 and not context.is_shutdown:
            return [LogInfo(msg=f"{spec.name} died (exit code {event.returncode})")]
        return []

    return ended
