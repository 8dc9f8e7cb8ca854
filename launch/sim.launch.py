# SPDX-License-Identifier: Apache-2.0
"""Launch file: practise tasks on the simulated table, without learning.

``ros2 launch ptp_bringup sim.launch.py task:=A``, or without launch_ros ``ptp up sim task:=A``.
"""

from ptp_bringup.arguments import (
    COMMON,
    EPISODES,
    GOAL,
    NONE,
    PLANNING,
    SIM_CAMERA_POSE,
    TABLE,
    TASKS,
    TRUTH,
    EpisodeSteps,
    GoalKindOfMethod,
    Instruction,
    MethodCheckpoint,
    PlannedBefore,
    TableOfTasks,
    absolute,
    existing,
    finetuned_folder,
    planner_preset,
    recordings_if_any,
    rviz_config,
    sawyer_urdf,
)
from ptp_bringup.declarations import (
    And,
    Argument,
    Equals,
    IfCondition,
    LaunchConfiguration,
    Node,
    NotEquals,
    Shutdown,
)
from ptp_bringup.stacks import Stack

ARGUMENTS = (
    Argument(
        "task",
        "A",
        "target task, A to F or long_1 to long_10, or several in turn, as A,B,C",
        TASKS,
        several=True,
    ),
    *TABLE,
    Argument("rate", "10.0", "images per second in real time, Hz", minimum=0.1, maximum=60.0),
    *PLANNING,
    *EPISODES,
    GOAL,
    Argument("goal_image", "", "goal file or image to reach instead of the task's own goal"),
    Argument("output", "", "folder for summary.json; empty: none is written"),
    Argument(
        "record",
        "",
        "folder for a video and a subgoal strip of each episode; empty or none: none are saved",
    ),
    Argument(
        "teleop",
        "false",
        "let an operator take over with a gamepad; needs joy_node, or another source of joy",
        TRUTH,
    ),
    Argument("view", "true", "start the view node: images, markers, path, videos", TRUTH),
    Argument(
        "finetuned",
        "",
        "folder of fine-tuned policies, used for the goals that they practised; released: those "
        "in models/; empty: none",
    ),
    *COMMON,
)

# In lock-step sim_bridge publishes the simulated time, so sim_bridge itself does not use it.
USE_SIM_TIME = Equals("mode", "lock_step")
FILMED = And(IfCondition("view"), And(NotEquals("record", ""), NotEquals("record", NONE)))

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
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="encoder",
        name="encoder",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="planner",
        name="planner",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
            "finetuned": LaunchConfiguration("finetuned", finetuned_folder),
            "method": LaunchConfiguration("method"),
            "preset": LaunchConfiguration("planner", planner_preset),
        },
        condition=PlannedBefore(),
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="policy",
        name="policy",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
            "finetuned": LaunchConfiguration("finetuned", finetuned_folder),
            "method": LaunchConfiguration("method"),
            "await_view": FILMED,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="practice",
        name="practice",
        parameters={
            "use_sim_time": USE_SIM_TIME,
            "tasks": LaunchConfiguration("task", list[str]),
            "protocol": LaunchConfiguration("protocol"),
            "method": LaunchConfiguration("method"),
            "goal_kind": GoalKindOfMethod(),
            "instruction": Instruction(),
            "episodes": LaunchConfiguration("episodes", int),
            "seed": LaunchConfiguration("seed", int),
            "max_steps": EpisodeSteps(),
            "goal_image": LaunchConfiguration("goal_image", existing),
            "output": LaunchConfiguration("output", absolute),
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="teleop",
        name="teleop",
        condition=IfCondition("teleop"),
        respawn=True,
    ),
    Node(
        package="joy",
        executable="joy_node",
        name="joy",
        condition=IfCondition("teleop"),
        respawn=True,
        optional=True,
    ),
    Node(
        package="ptp_nodes",
        executable="view",
        name="view",
        parameters={
            "use_sim_time": USE_SIM_TIME,
            "record": LaunchConfiguration("record", recordings_if_any),
        },
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
    name="sim",
    description="practise tasks on the simulated table",
    arguments=ARGUMENTS,
    nodes=NODES,
)


def generate_launch_description():
    """The stack as launch_ros actions."""
    from ptp_bringup.launch_actions import launch_description

    return launch_description(STACK)
