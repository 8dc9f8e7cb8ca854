# SPDX-License-Identifier: Apache-2.0
"""Launch file: practise tasks on the simulated table and fine-tune the policy (paper Alg. 1).

``ros2 launch ptp_bringup practice.launch.py task:=A``, or without launch_ros
``ptp up practice task:=A``. A node that dies is restarted, and practice continues.
"""

from ptp_bringup.arguments import (
    COMMON,
    EPISODES,
    GOAL,
    LEARNING,
    PLANNING,
    PRESETS,
    RENAMED,
    SIM_CAMERA_POSE,
    TABLE,
    TASKS,
    TRUTH,
    EpisodeSteps,
    FollowsSubgoals,
    GoalKindOfMethod,
    Instruction,
    MethodCheckpoint,
    PlannedBefore,
    TableOfTasks,
    absolute,
    existing,
    inside,
    planner_preset,
    rviz_config,
    sawyer_urdf,
    with_defaults,
)
from ptp_bringup.declarations import (
    LEFT_OUT,
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
        "target task, A to F or long_1 to long_10, or several in turn, as A,B,C",
        TASKS,
        several=True,
    ),
    *with_defaults(TABLE, mode="lock_step"),
    Argument("rate", "10.0", "images per second in real time, Hz", minimum=0.1, maximum=60.0),
    *PLANNING,
    *with_defaults(EPISODES, episodes="200"),
    GOAL,
    Argument(
        "output", "out/practice", "folder of recordings, learner and summary; a run resumes there"
    ),
    *LEARNING,
    Argument("learn", "true", "start the learner", TRUTH),
    Argument(
        "teleop",
        "false",
        "let an operator take over with a gamepad; needs joy_node, or another source of joy",
        TRUTH,
    ),
    Argument("view", "false", "start the view node: images, markers, path, videos", TRUTH),
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
        },
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="encoder",
        name="encoder",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
        },
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="planner",
        name="planner",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
            "method": LaunchConfiguration("method"),
            "preset": LaunchConfiguration("planner", planner_preset),
            "plan_library": LaunchConfiguration("output", inside("plans.safetensors")),
            "reuse_plans": LaunchConfiguration("reuse_plans", bool),
            "success_signal": LaunchConfiguration("success_signal"),
        },
        condition=PlannedBefore(),
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="policy",
        name="policy",
        parameters={
            "checkpoint": MethodCheckpoint(),
            "use_sim_time": USE_SIM_TIME,
            "method": LaunchConfiguration("method"),
            "follower.sample_actions": IfElse(
                FollowsSubgoals(), Equals("actions", "sample"), LEFT_OUT
            ),
        },
        respawn=True,
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
            "checkpoint": MethodCheckpoint(),
            "success_signal": LaunchConfiguration("success_signal"),
            "output": LaunchConfiguration("output", absolute),
            "use_recorder": True,
            "resume": True,
            "most_due": IfElse(IfCondition("learn"), 2000, 0),
            "patience": 20.0,
            "silence": 10.0,
            "max_failures": 20,
        },
        respawn=True,
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
    Node(
        package="ptp_nodes",
        executable="recorder",
        name="recorder",
        parameters={
            "folder": LaunchConfiguration("output", inside("recordings")),
            "image": LaunchConfiguration("record_images", bool),
            "urdf": sawyer_urdf_path,
        },
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="learner",
        name="learner",
        parameters={
            "checkpoint": MethodCheckpoint(learns=True),
            "folder": LaunchConfiguration("output", inside("learner")),
            "demonstrations": LaunchConfiguration("demonstrations", existing),
            "learn_from": LaunchConfiguration("learn_from"),
            "success_signal": LaunchConfiguration("success_signal"),
            "utd_ratio": LaunchConfiguration("utd_ratio", float),
            "learning_rate": LaunchConfiguration("learning_rate", float),
        },
        condition=IfCondition("learn"),
        respawn=True,
    ),
)

STACK = Stack(
    name="practice",
    description="practise tasks on the simulated table and fine-tune the policy",
    arguments=ARGUMENTS,
    nodes=NODES,
    presets=PRESETS,
    renamed=RENAMED,
)


def generate_launch_description():
    """The stack as launch_ros actions."""
    from ptp_bringup.launch_actions import launch_description

    return launch_description(STACK)
