# SPDX-License-Identifier: Apache-2.0
"""The graph in lock-step takes the same actions, to the bit, as the loop in process."""

import json

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, EpisodeStatus, StepInfo

from ptp_core.agents.registry import build_agent, checkpoint_for, method_named
from ptp_core.rollout.episode_results import episode_seeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.tiny_networks import tiny_baseline_folders, tiny_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.practice_node import PracticeNode
from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.topics import ARM_STATE, EPISODE, LATCHED, RECORDS, STEP
from ptp_sim.env import make_env
from ptp_sim.sim_bridge_node import SimBridgeNode

SEED = 3
STEPS = 30
TASKS = ("A", "C")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tiny_checkpoint(folder)
    tiny_baseline_folders(folder)
    return folder


def in_process(folder, task, method):
    """Codes (N, 144), actions (N, 5) and result of one episode of the library's own loop."""
    checkpoint = load_checkpoint(folder)
    codes, actions = [], []

    def note(decision):
        codes.append(decision.latent)
        actions.append(decision.action)

    env = make_env()
    result = run_episode(
        env,
        build_agent(method, checkpoint),
        options={"task": task, "protocol": "varied"},
        seeds=episode_seeds(SEED, task, 0),
        max_steps=STEPS,
        on_step=note,
    )
    env.close()
    return np.array(codes), np.array(actions), result


def on_the_graph(folder, method, output):
    """Steps of one episode of each task through real nodes, and the commands that came of them."""
    with Graph() as graph:

        def add(node, **values):
            values["use_sim_time"] = node is not SimBridgeNode
            options = parameters(values)
            graph.add(node(context=graph.context, parameter_overrides=options))

        steps = graph.collect(StepInfo, STEP, RECORDS)
        states = graph.collect(ArmState, ARM_STATE, RECORDS)
        status = graph.collect(EpisodeStatus, EPISODE, LATCHED)
        add(SimBridgeNode, mode="lock_step")
        add(EncoderNode, checkpoint=str(folder))
        for node in (PlannerNode, PolicyNode):
            add(node, checkpoint=str(folder), method=method)
        add(
            PracticeNode,
            tasks=list(TASKS),
            protocol="varied",
            method=method,
            seed=SEED,
            max_steps=(STEPS,),
            output=str(output),
            stay=True,
        )
        graph.wait(lambda: status and status[-1].state == EpisodeStatus.FINISHED, "the end")
        graph.wait(lambda: len(newest(steps)) == len(TASKS) * STEPS, "all steps")

        def answered():
            return {step.observation_seq for step in newest(steps)}

        graph.wait(lambda: answered() <= commands(states).keys(), "the state after the last step")
        return steps, commands(states)


def newest(steps):
    """The last word of each step: an answer that was too old on a busy machine is repeated."""
    return list({(step.episode, step.step): step for step in steps}.values())


def commands(states):
    """What the arm carried out, by the observation that it answers."""
    return {state.command.observation_seq: state.command for state in states if state.moved}


METHODS = ("ptp_single_subgoal", "ptp", "model_free", "gcbc", "gcp", "leap")


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_acts_as_the_loop_in_process(folder, method, tmp_path):
    folder = checkpoint_for(method, folder)
    steps, answers = on_the_graph(folder, method, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["failures"], summary["method"]) == ([], method)
    scale = ActionScale()
    for number, task in enumerate(TASKS):
        codes, actions, result = in_process(folder, task, method)
        assert len(np.unique(actions, axis=0)) == STEPS
        for step in steps:  # also when it is repeated
            if step.episode == number + 1:
                assert np.array_equal(step.latent.indices, codes[step.step])
                assert np.array_equal(step.action, actions[step.step])
        mine = [step for step in newest(steps) if step.episode == number + 1]
        assert np.array_equal([step.latent.indices for step in mine], codes)
        assert np.array_equal([step.action for step in mine], actions)
        for step, action in zip(mine, actions, strict=True):
            delta, command = scale.to_delta(action), answers[step.observation_seq]
            assert (command.dx, command.dy, command.dz) == (delta.dx, delta.dy, delta.dz)
            assert (command.dyaw, command.gripper) == (delta.dyaw, delta.gripper)
        (run,) = summary["tasks"][task]["runs"]
        assert (run["success"], run["steps"]) == (result.success, STEPS)
        assert run["first_success"] == result.first_success
        assert run["seed"] == episode_seeds(SEED, task, 0).env
        assert run["subgoals_reached"] == result.subgoals_reached
        assert run["subgoals_timed_out"] == result.subgoals_timed_out
        if method_named(method).plans:
            assert run["final_cost"] == result.plan_cost
