# SPDX-License-Identifier: Apache-2.0
"""Launch file: teleoperate the simulated arm and record demonstrations.

``ros2 launch ptp_bringup teleop.launch.py source:=spacenav``, or without launch_ros
``ptp up teleop source:=spacenav``.
"""

from ptp_bringup.arguments import (
    COMMON,
    SIM_CAMERA_POSE,
    TABLE,
    TASKS,
    TRUTH,
    TableOfTasks,
    checkpoint_folder,
    instruction_of_person,
    recordings,
    rviz_config,
    sawyer_urdf,
    terminal,
    with_defaults,
)
from ptp_bringup.declarations import (
    Argument,
    Equals,
    IfCondition,
    IfElse,
    LaunchConfiguration,
    Node,
    Shutdown,
)
from ptp_bringup.stacks import Stack
from ptp_description import sawyer_urdf_path

ARGUMENTS = (
    Argument(
        "task",
        "A",
        "task whose scenes are set up: A to F, long_1 to long_10, or several in turn, as A,B,C",
        TASKS,
        several=True,
    ),
    *with_defaults(TABLE, protocol="varied"),
    Argument(
        "rate",
        "10.0",
        "commands per second, and images per second in real time, Hz",
        minimum=1.0,
        maximum=60.0,
    ),
    Argument(
        "episodes",
        "1",
        "demonstrations of source:=script until the stack ends",
        minimum=1,
    ),
    Argument("seed", "0", "of the first scene; it increases by one with each scene", minimum=0),
    Argument(
        "source",
        "joy",
        "joy: gamepad; spacenav: SpaceMouse; keyboard: this terminal; twist: velocities of "
        "another program; script: a simulated gamepad",
        ("joy", "spacenav", "keyboard", "twist", "script"),
    ),
    Argument(
        "speed",
        "0.5",
        "part of the largest motion that a full stick commands",
        minimum=0.01,
        maximum=1.0,
    ),
    Argument(
        "record", "out/demonstrations", "folder of the session; a session resumes where it ended"
    ),
    Argument(
        "instruction",
        "",
        "what is shown, in words, recorded with each demonstration; ask: asked for here, before "
        "the start; empty: the words of the task",
    ),
    Argument("record_images", "true", "record the large images, too", TRUTH),
    Argument("view", "true", "start the view node: images, markers, path", TRUTH),
    *COMMON,
)

# In lock-step sim_bridge publishes the simulated time, so sim_bridge itself does not use it.
USE_SIM_TIME = Equals("mode", "lock_step")

NODES = (
    Node(
        package="ptp_sim",
        executable="sim_bridge",
        name="sim_bridge",
        parameters={
            "mode": LaunchConfiguration("mode"),
            "rate": LaunchConfiguration("rate", float),
            "grasp": LaunchConfiguration("grasp"),
            "table": TableOfTasks(),
            "truth": Equals("source", "script"),
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="encoder",
        name="encoder",
        parameters={
            "checkpoint": LaunchConfiguration("checkpoint", checkpoint_folder),
            "use_sim_time": USE_SIM_TIME,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="recorder",
        name="recorder",
        parameters={
            "folder": LaunchConfiguration("record", recordings),
            "image": LaunchConfiguration("record_images", bool),
            "urdf": sawyer_urdf_path,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="teleop",
        name="teleop",
        parameters={
            # The script plays a gamepad, and waits for the effect of each reading.
            "source": IfElse(Equals("source", "script"), "joy", LaunchConfiguration("source")),
            "pace": IfElse(Equals("source", "script"), "readings", "rate"),
            "rate": LaunchConfiguration("rate", float),
            "speed": LaunchConfiguration("speed", float),
            "tasks": LaunchConfiguration("task", list[str]),
            "protocol": LaunchConfiguration("protocol"),
            "seed": LaunchConfiguration("seed", int),
            "set_up": True,
            "instruction": LaunchConfiguration("instruction", instruction_of_person),
            "tty": terminal,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="joy",
        executable="joy_node",
        name="joy",
        condition=Equals("source", "joy"),
        respawn=True,
        optional=True,
    ),
    Node(
        package="spacenav",
        executable="spacenav_node",
        name="spacenav",
        condition=Equals("source", "spacenav"),
        respawn=True,
        optional=True,
    ),
    Node(
        package="ptp_sim",
        executable="scripted_gamepad",
        name="scripted_gamepad",
        parameters={
            "episodes": LaunchConfiguration("episodes", int),
            "rate": LaunchConfiguration("rate", float),
            "grasp": LaunchConfiguration("grasp"),
            "speed": LaunchConfiguration("speed", float),
            "seed": LaunchConfiguration("seed", int),
        },
        condition=Equals("source", "script"),
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="view",
        name="view",
        parameters={"use_sim_time": USE_SIM_TIME},
        condition=IfCondition("view"),
        respawn=True,
    ),
    Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        name="robot_state_publisher",
        parameters={"use_sim_time": USE_SIM_TIME, "robot_description": sawyer_urdf},
        respawn=True,
        optional=True,
    ),
    Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name="camera_transform",
        parameters={"use_sim_time": USE_SIM_TIME},
        arguments=SIM_CAMERA_POSE,
        respawn=True,
        optional=True,
    ),
    Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=("-d", LaunchConfiguration("rviz_config", rviz_config)),
        condition=IfCondition("use_rviz"),
    ),
)

STACK = Stack(
    name="teleop",
    description="teleoperate the simulated arm and record demonstrations",
    arguments=ARGUMENTS,
    nodes=NODES,
)


def generate_launch_description():
    """The stack as launch_ros actions."""
    from ptp_bringup.launch_actions import launch_description

    return launch_description(STACK)
