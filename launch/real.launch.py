# SPDX-License-Identifier: Apache-2.0
"""Launch file: practise with an arm, or with the simulated arm behind joint controllers.

``ros2 launch ptp_bringup real.launch.py robot:=sawyer task:=GOAL``, or without launch_ros
``ptp up real robot:=sawyer task:=GOAL``. Nodes that move the arm are never restarted
automatically: the operator must check the arm first. The practice node is not restarted either.
"""

from ptp_bringup.arguments import (
    COMMON,
    EPISODES,
    GOAL,
    LEARNING,
    NONE,
    PLANNING,
    PRESETS,
    PROTOCOLS,
    RENAMED,
    SIM_CAMERA_POSE,
    TRUTH,
    EpisodeSteps,
    FollowsSubgoals,
    GoalKindOfMethod,
    Instruction,
    MethodCheckpoint,
    PlannedBefore,
    absolute,
    existing,
    inside,
    planner_preset,
    recordings_if_any,
    robot_file,
    robot_urdf,
    robot_urdf_path,
    rviz_config,
    terminal,
    video_device,
    with_defaults,
)
from ptp_bringup.declarations import (
    LEFT_OUT,
    And,
    Argument,
    Equals,
    IfCondition,
    IfElse,
    LaunchConfiguration,
    Node,
    NotEquals,
    Shutdown,
)
from ptp_bringup.stacks import Stack

SIMULATED = "sim_joint"  # the robot whose table is simulated

ARGUMENTS = (
    Argument(
        "robot",
        SIMULATED,
        "sawyer, ros2_control, fake (an arm in memory), sim_joint (the simulated table behind "
        "joint controllers), another of config/robots, or a YAML file like those",
    ),
    Argument(
        "preflight", "true", "refuse to enable the arm until ptp doctor --real passed", TRUTH
    ),
    Argument("camera", "0", "camera: number or /dev/v4l/by-id/...; not for sim_joint"),
    Argument("crop", "0", "pixels a side of the cropped square; 0: the largest", minimum=0),
    Argument("offset", "0,0", "of the square from the image's centre, right,down [pixels]"),
    Argument("rate", "10.0", "images per second, Hz", minimum=1.0, maximum=60.0),
    Argument("task", "A", "goals to practise, several in turn as A,B: names in goals:="),
    Argument("goals", "goals", "folder of goals that ptp goal capture saved"),
    GOAL,
    Argument("goal_image", "", "image or goal file to reach instead of the task's goal"),
    Argument(
        "protocol",
        "paper",
        "how scenes of sim_joint are drawn, as for ptp up sim",
        PROTOCOLS,
    ),
    Argument(
        "teleop",
        "none",
        "device with which the operator takes over and demonstrates",
        ("none", "joy", "spacenav", "keyboard", "twist"),
    ),
    Argument(
        "operator",
        "true",
        "start the operator node, for scene set-up and success checks by the operator; not for "
        "sim_joint",
        TRUTH,
    ),
    Argument(
        "record",
        "",
        "folder of recorded episodes; empty: recordings in output; none: nothing is recorded, and "
        "nothing can be learned",
    ),
    Argument("learn", "false", "start the learner", TRUTH),
    Argument("viewer", "true", "start the view node: images, markers, path", TRUTH),
    *PLANNING,
    *with_defaults(EPISODES, episodes="200"),
    Argument(
        "output", "out/real", "folder of recordings, learner and summary; a run resumes there"
    ),
    *LEARNING,
    *COMMON,
)

NODES = (
    Node(
        package="ptp_sim",
        executable="joint_bridge",
        name="joint_bridge",
        parameters={"rate": LaunchConfiguration("rate", float)},
        condition=Equals("robot", SIMULATED),
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="camera",
        name="camera",
        parameters={
            "device": LaunchConfiguration("camera", video_device),
            "crop": LaunchConfiguration("crop", int),
            "offset": LaunchConfiguration("offset", list[int]),
            "rate": LaunchConfiguration("rate", float),
        },
        condition=NotEquals("robot", SIMULATED),
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="arm_driver",
        name="arm_driver",
        parameters={
            "robot_file": LaunchConfiguration("robot", robot_file),
            "preflight": LaunchConfiguration("preflight", bool),
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="operator",
        name="operator",
        parameters={
            "goals": LaunchConfiguration("goals", absolute),
            # Without teleop there is no gamepad, and the preflight would report it as missing.
            "gamepad": Equals("teleop", "joy"),
            # The operator answers with keys, unless the keyboard moves the arm.
            "tty": IfElse(Equals("teleop", "keyboard"), "", terminal),
        },
        condition=And(IfCondition("operator"), NotEquals("robot", SIMULATED)),
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="encoder",
        name="encoder",
        parameters={"checkpoint": MethodCheckpoint()},
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="planner",
        name="planner",
        parameters={
            "checkpoint": MethodCheckpoint(),
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
            "use_recorder": NotEquals("record", NONE),
            "resume": True,
            "most_due": IfElse(IfCondition("learn"), 2000, 0),
            "patience": 20.0,
            "silence": 10.0,
            "max_failures": 20,
            "goal_image": LaunchConfiguration("goal_image", existing),
            "await_arm": True,
        },
        on_exit=Shutdown(),
    ),
    Node(
        package="ptp_nodes",
        executable="recorder",
        name="recorder",
        parameters={
            "folder": IfElse(
                Equals("record", ""),
                LaunchConfiguration("output", inside("recordings")),
                LaunchConfiguration("record", recordings_if_any),
            ),
            "image": LaunchConfiguration("record_images", bool),
            "urdf": LaunchConfiguration("robot", robot_urdf_path),
        },
        condition=NotEquals("record", NONE),
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
    Node(
        package="ptp_nodes",
        executable="view",
        name="view",
        condition=IfCondition("viewer"),
        respawn=True,
    ),
    Node(
        package="ptp_nodes",
        executable="teleop",
        name="teleop",
        parameters={
            "source": LaunchConfiguration("teleop"),
            "rate": LaunchConfiguration("rate", float),
            "tty": terminal,
        },
        condition=NotEquals("teleop", "none"),
        respawn=True,
    ),
    Node(
        package="joy",
        executable="joy_node",
        name="joy",
        condition=Equals("teleop", "joy"),
        respawn=True,
        optional=True,
    ),
    Node(
        package="spacenav",
        executable="spacenav_node",
        name="spacenav",
        condition=Equals("teleop", "spacenav"),
        respawn=True,
        optional=True,
    ),
    Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        name="robot_state_publisher",
        parameters={"robot_description": LaunchConfiguration("robot", robot_urdf)},
        respawn=True,
        optional=True,
    ),
    Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name="camera_transform",
        arguments=SIM_CAMERA_POSE,
        condition=Equals("robot", SIMULATED),
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
    name="real",
    description="practise with an arm, and optionally fine-tune the policy",
    arguments=ARGUMENTS,
    nodes=NODES,
    presets=PRESETS,
    renamed=RENAMED,
)


def generate_launch_description():
    """The stack as launch_ros actions."""
    from ptp_bringup.launch_actions import launch_description

    return launch_description(STACK)
