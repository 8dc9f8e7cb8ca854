# SPDX-License-Identifier: Apache-2.0
"""Launch file: show images of a camera or video file, and their encoding.

``ros2 launch ptp_bringup camera.launch.py device:=/dev/video0``, or without launch_ros
``ptp up camera device:=/dev/video0``.
"""

from ptp_bringup.arguments import COMMON, checkpoint_folder, rviz_config, video_device
from ptp_bringup.declarations import Argument, IfCondition, LaunchConfiguration, Node, Shutdown
from ptp_bringup.stacks import Stack

ARGUMENTS = (
    Argument("device", "0", "camera: number or /dev/video...; or a video file"),
    Argument("crop", "0", "pixels a side of the cropped square; 0: the largest", minimum=0),
    Argument("offset", "0,0", "of the square from the image's centre, right,down [pixels]"),
    Argument("rate", "10.0", "images per second, Hz", minimum=0.1, maximum=60.0),
    *COMMON,
)

NODES = (
    Node(
        package="ptp_nodes",
        executable="camera",
        name="camera",
        parameters={
            "device": LaunchConfiguration("device", video_device),
            "crop": LaunchConfiguration("crop", int),
            "offset": LaunchConfiguration("offset", list[int]),
            "rate": LaunchConfiguration("rate", float),
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="encoder",
        name="encoder",
        parameters={"checkpoint": LaunchConfiguration("checkpoint", checkpoint_folder)},
        on_exit=Shutdown(),
    ),
    Node(package="ptp_nodes", executable="view", name="view", respawn=True),
    Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=("-d", LaunchConfiguration("rviz_config", rviz_config)),
        condition=IfCondition("use_rviz"),
    ),
)

STACK = Stack(
    name="camera",
    description="show images of a camera or video file, and their encoding",
    arguments=ARGUMENTS,
    nodes=NODES,
)


def generate_launch_description():
    """The stack as launch_ros actions."""
    from ptp_bringup.launch_actions import launch_description

    return launch_description(STACK)
