# SPDX-License-Identifier: Apache-2.0
"""Practice on real nodes says why an episode could not be done, and goes on with the next."""

import json

import cv2
import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, EpisodeStatus, ErrorCode, SubgoalPlan
from rcl_interfaces.msg import Log
from sensor_msgs.msg import Image

from ptp_core.tiny_networks import tiny_checkpoint
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.practice_node import PracticeNode
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import ARM_STATE, EPISODE, GOAL_IMAGE, LATCHED, PLAN, RECORDS
from ptp_sim.sim_bridge_node import SimBridgeNode


class Setting:
    """Graph, checkpoints of two encoders, and a way to start nodes."""

    def __init__(self, graph, folder):
        self.graph = graph
        self.model, self.other = folder / "model", folder / "other"
        tiny_checkpoint(self.model, seed=0)
        tiny_checkpoint(self.other, seed=1)
        self.output = folder / "out"
        self.statuses = graph.collect(EpisodeStatus, EPISODE, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.logs = graph.logs()

    def add(self, node, **values):
        values["use_sim_time"] = node is not SimBridgeNode
        options = parameters(values)
        self.graph.add(node(context=self.graph.context, parameter_overrides=options))

    def networks(self, **checkpoints):
        for name, node in (
            ("encoder", EncoderNode),
            ("planner", PlannerNode),
            ("policy", PolicyNode),
        ):
            self.add(node, checkpoint=str(checkpoints.get(name, self.model)))

    def practise(self, **values):
        """Run to the end; the statuses that say failed, and the summary."""
        output = str(self.output)
        self.add(PracticeNode, max_steps=(3,), output=output, stay=True, **values)
        self.graph.wait(
            lambda: self.statuses and self.statuses[-1].state == EpisodeStatus.FINISHED, "the end"
        )
        failed = [s for s in self.statuses if s.state == EpisodeStatus.FAILED]
        return failed, json.loads((self.output / "summary.json").read_text())

    def moved(self):
        """Whether any command was carried out."""
        return any(state.command_seq for state in self.states)


@pytest.fixture
def setting(tmp_path):
    with Graph() as graph:
        setting = Setting(graph, tmp_path)
        setting.add(SimBridgeNode, mode="lock_step")
        yield setting


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"no picture", "not an image that can be read"), (None, "cannot be read")],
)
def test_a_goal_picture_that_is_no_picture(setting, tmp_path, content, text):
    path = tmp_path / "goal.png"
    if content is not None:
        path.write_bytes(content)
    setting.networks()
    failed, summary = setting.practise(goal_image=str(path), episodes=5)
    assert [f.error_code for f in failed] == [ErrorCode.BAD_IMAGE] * 3  # then it gives up
    assert text in failed[0].error_msg
    assert [f["error_code"] for f in summary["failures"]] == [ErrorCode.BAD_IMAGE] * 3
    setting.logs.expect(text, Log.ERROR)
    assert not setting.moved()


def test_a_goal_picture_of_ones_own_is_pursued(setting, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "goal.png"), picture[:, :, ::-1])
    goals = setting.graph.collect(Image, GOAL_IMAGE, LATCHED)
    plans = setting.graph.collect(SubgoalPlan, PLAN, LATCHED)
    setting.networks()
    failed, _ = setting.practise(goal_image=str(tmp_path / "goal.png"))
    assert failed == []
    assert np.array_equal(image_to_array(goals[-1]), picture)
    assert len(plans) == 1
    assert setting.moved()


def test_a_policy_of_another_encoder(setting):
    setting.networks(policy=setting.other)
    failed, _ = setting.practise(max_failures=1)
    assert failed[0].error_code == ErrorCode.WRONG_ENCODER
    assert "start all nodes with the same checkpoint" in failed[0].error_msg
    assert not setting.moved()


def test_a_planner_without_its_checkpoint(setting, tmp_path):
    setting.networks(planner=tmp_path / "none")
    failed, _ = setting.practise(max_failures=1)
    assert failed[0].error_code == ErrorCode.BAD_CHECKPOINT
    assert "no checkpoint" in failed[0].error_msg
    assert not setting.moved()


def test_a_node_that_is_not_there_is_named_after_a_while(setting):
    failed, _ = setting.practise(max_failures=1, patience=0.3)
    assert failed[0].error_code == ErrorCode.UNAVAILABLE
    assert "encode_image did not come within 0.3 s" in failed[0].error_msg


def test_a_task_that_does_not_exist_fails_and_the_next_one_is_done(setting):
    setting.networks()
    failed, summary = setting.practise(tasks=["Z", "B"])
    assert [(f.task, f.error_code) for f in failed] == [("Z", ErrorCode.BAD_REQUEST)]
    assert list(summary["tasks"]) == ["B"]
    assert summary["tasks"]["B"]["episodes"] == 1


def test_an_agent_that_is_shown_the_goal_plans_for_itself(setting):
    plans = setting.graph.collect(SubgoalPlan, PLAN, LATCHED)
    setting.add(EncoderNode, checkpoint=str(setting.model))
    setting.add(PolicyNode, checkpoint=str(setting.model))  # and nobody else who plans
    failed, summary = setting.practise(goal_kind="image")
    assert [f.error_msg for f in failed] == []
    (run,) = summary["tasks"]["A"]["runs"]
    assert run["steps"] == 3
    setting.graph.wait(lambda: plans, "its plan")
    assert plans[0].episode_id.endswith("task_A_episode_0") and plans[0].count > 0
    assert setting.moved()


def test_an_agent_without_language_says_so_and_nothing_moves(setting):
    setting.networks()
    failed, _ = setting.practise(goal_kind="language", max_failures=1)
    assert failed[0].error_code == ErrorCode.BAD_REQUEST
    assert "not a goal of kind language" in failed[0].error_msg
    assert not setting.moved()
