# SPDX-License-Identifier: Apache-2.0
"""The stack that practises on the simulated table, without learning."""

from __future__ import annotations

from ptp_bringup.pieces import (
    COMMON,
    FINETUNED,
    NETWORKS,
    RVIZ,
    SIM_CLOCK,
    TRUTH,
    absolute,
    recordings_if_any,
    robot_description,
)
from ptp_bringup.stack import Argument, From, NodeSpec, Stack, words
from ptp_core.agents.registry import DEFAULT_METHOD, on_the_graph

# Pose of the simulated camera's optical frame: 0.5 m from (0.7, 0, -0.25), looking along -x and
# 27 degrees down (ptp_sim.camera.CameraConfig).
SIM_CAMERA_POSE = (
    *("--x", "1.145503", "--y", "0", "--z", "-0.023005"),
    *("--qx", "0.602908", "--qy", "0.602908", "--qz", "-0.369462", "--qw", "-0.369462"),
    *("--frame-id", "base", "--child-frame-id", "camera_optical"),
)

METHOD = {"method": From("method")}

SIM = Stack(
    name="sim",
    description="practise tasks on the simulated table",
    arguments=(
        Argument("task", "A", "target task, A, B or C, or several in turn, as A,B,C"),
        Argument(
            "protocol",
            "paper",
            "paper: the authors' fixed scenes; varied: everything moved a little",
            ("paper", "varied"),
        ),
        Argument(
            "method",
            DEFAULT_METHOD,
            "how subgoals come about. ptp_single_subgoal: one of the coarsest generator, then the "
            "goal; ptp: the paper's three levels and eight subgoals; model_free: none, the policy "
            "pursues the goal picture. The graph keeps no plan buffer",
            on_the_graph(),
        ),
        Argument(
            "planner",
            "checkpoint",
            "how hard is searched for plans: checkpoint (as its own settings say), fast, descent, "
            "best, paper or a YAML file whose levels and subgoals are the method's",
        ),
        Argument("episodes", "1", "episodes of each task"),
        Argument("seed", "0", "of scenes, plans and actions"),
        Argument("max_steps", "400", "control steps an episode"),
        Argument(
            "mode",
            "real_time",
            "real_time: a picture every 1/rate s; lock_step: the table waits for each command, "
            "as fast as the machine can and repeatable",
            ("real_time", "lock_step"),
        ),
        Argument("rate", "10.0", "pictures a second in real time, Hz"),
        Argument(
            "grasp",
            "assisted",
            "how the gripper takes the block: as the authors did, or by friction",
            ("assisted", "physical"),
        ),
        Argument("goal_image", "", "goal file or picture to reach instead of the task's own goal"),
        Argument("output", "", "folder for summary.json; empty: none is written"),
        Argument(
            "record",
            "",
            "folder for a video and a plan strip of each episode; empty or none: nothing is kept",
        ),
        Argument(
            "teleop",
            "false",
            "let a person take over with a gamepad; needs joy_node, or another source of joy",
            TRUTH,
        ),
        Argument("view", "true", "start the view node: pictures, markers, path, videos", TRUTH),
        Argument(
            "finetuned",
            "",
            "folder of policies that practised, for the goals that they know; released: those in "
            "models/; empty: none",
        ),
        *COMMON,
    ),
    nodes=(
        NodeSpec(
            "ptp_sim",
            "sim_bridge",
            "sim_bridge",
            {
                "mode": From("mode"),
                "rate": From("rate", float),
                "grasp": From("grasp"),
            },
        ),
        NodeSpec("ptp_nodes", "encoder", "encoder", {**NETWORKS, **SIM_CLOCK}),
        NodeSpec(
            "ptp_nodes",
            "planner",
            "planner",
            {**NETWORKS, **SIM_CLOCK, **FINETUNED, **METHOD, "preset": From("planner")},
        ),
        NodeSpec(
            "ptp_nodes", "policy", "policy", {**NETWORKS, **SIM_CLOCK, **FINETUNED, **METHOD}
        ),
        NodeSpec(
            "ptp_nodes",
            "practice",
            "practice",
            {
                **SIM_CLOCK,
                "tasks": From("task", words),
                "protocol": From("protocol"),
                **METHOD,
                "episodes": From("episodes", int),
                "seed": From("seed", int),
                "max_steps": From("max_steps", int),
                "goal_image": From("goal_image", absolute),
                "output": From("output", absolute),
            },
        ),
        NodeSpec("ptp_nodes", "teleop", "teleop", when="teleop", respawn=True, essential=False),
        NodeSpec(
            "joy", "joy_node", "joy", when="teleop", respawn=True, essential=False, optional=True
        ),
        NodeSpec(
            "ptp_nodes",
            "view",
            "view",
            {**SIM_CLOCK, "record": From("record", recordings_if_any)},
            when="view",
            essential=False,
            respawn=True,
        ),
        NodeSpec(
            "robot_state_publisher",
            "robot_state_publisher",
            "robot_state_publisher",
            {**SIM_CLOCK, "robot_description": robot_description},
            essential=False,
            respawn=True,
            optional=True,
        ),
        NodeSpec(
            "tf2_ros",
            "static_transform_publisher",
            "camera_transform",
            SIM_CLOCK,
            arguments=SIM_CAMERA_POSE,
            essential=False,
            respawn=True,
            optional=True,
        ),
        RVIZ,
    ),
)
