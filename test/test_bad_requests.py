# SPDX-License-Identifier: Apache-2.0
"""Every service and action with each field wrong, in each state: refused, and nothing changed."""

import re

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.action import PlanSubgoals, ReachGoal, RecordEpisode
from ptp_interfaces.msg import ErrorCode, Goal, LatentArray, SubgoalPlan
from ptp_interfaces.srv import (
    DecodeLatent,
    EncodeImage,
    FinishEpisode,
    GetEpisode,
    JudgeEpisode,
    LabelEpisode,
    ResetScene,
)
from sensor_msgs.msg import Image

from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import Graph, parameters
from ptp_sim.sim_bridge_node import SimBridgeNode

MANAGED = ("encoder", "planner", "policy", "recorder")
MOST = {"uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1, "uint64": 2**64 - 1}
# Fields that mean the same whatever stands in them.
FREE = {
    (EncodeImage, "resize"),
    (PlanSubgoals, "seed"),
    (PlanSubgoals, "episode_id"),
    (ReachGoal, "seed"),
    (ReachGoal, "episode_id"),
    (ReachGoal, "max_steps"),
    (ReachGoal, "first_observation_seq"),
    (RecordEpisode, "episode_id"),
    (RecordEpisode, "task"),
    (RecordEpisode, "protocol"),
    (RecordEpisode, "instruction"),
    (RecordEpisode, "first_observation_seq"),
    (FinishEpisode, "end_reason"),
    (LabelEpisode, "drop"),
}
TEXTS = ("nonsense", "../../x", "", "  ", "x" * 10_000)
NAMES = (["nonsense"], [""], ["camera"] * 2, ["x"] * 1000)
# What a line has where an empty name, or one of blanks, was put into it.
BLANK = re.compile(r"""''|""|\(\)|"\s*"|  |\( | \)| [:,;]|[:,;(] *$| $""")
SERVICES = {
    ResetScene: "reset_scene",
    JudgeEpisode: "judge_episode",
    EncodeImage: "encode_image",
    DecodeLatent: "decode_latent",
    FinishEpisode: "recorder/finish",
    LabelEpisode: "recorder/label",
    GetEpisode: "recorder/get_episode",
}
ACTIONS = {
    PlanSubgoals: "plan_subgoals",
    ReachGoal: "reach_goal",
    RecordEpisode: "recorder/record",
}

pytestmark = [pytest.mark.timeout(400), pytest.mark.process]


def wrong(message):
    """(field, value) of every field of a message with values that nobody means."""
    for field, kind in message.get_fields_and_field_types().items():
        if kind in MOST:
            yield field, MOST[kind]
        elif kind == "string":
            yield from ((field, value) for value in TEXTS)
        elif kind == "sequence<string>":
            yield from ((field, names) for names in NAMES)
        elif kind == "sequence<sensor_msgs/Image>":
            yield from ((field, images) for images in ([], *([image] for image in no_images())))
        elif kind == "ptp_interfaces/LatentArray":
            yield from ((field, latent) for latent in no_latents())
        elif kind == "ptp_interfaces/Goal":
            yield from ((field, Goal(images=[image])) for image in no_images())
            yield from ((field, Goal(latent=latent)) for latent in no_latents())
            yield field, Goal(instruction="x", images=[Image()])
            yield field, Goal(cameras=["camera"])
        elif kind == "ptp_interfaces/SubgoalPlan":
            yield field, SubgoalPlan(count=2**32 - 1)
        else:
            assert kind == "boolean", f"{field}: no wrong values for {kind}"
            yield field, True


def no_images():
    yield Image(width=1, height=1)
    yield Image(width=2**32 - 1, height=2**32 - 1, encoding="rgb8", step=1)
    yield Image(width=48, height=48, encoding="32FC1", step=1)


def no_latents():
    yield LatentArray(shape=[144], indices=[65535])
    yield LatentArray(shape=[2**32 - 1] * 8, indices=[1])
    yield LatentArray(shape=[1] * 1000, values=[1.0])
    yield LatentArray(shape=[0, 144])
    yield LatentArray(shape=[1], values=[float("nan")])
    yield LatentArray(shape=[1], values=[1.0], indices=[1])
    yield LatentArray(indices=[1] * 144)


class Robot:
    """All nodes that serve something, on the simulated table."""

    def __init__(self, graph, folder, tmp_path):
        self.graph = graph
        networks = {"checkpoint": str(folder)}
        quick = {**networks, "keep_alive": 0.0, "give_up_after": 0.1, "stale_after": 0.05}
        for node, values in (
            (SimBridgeNode, {"mode": "lock_step"}),
            (EncoderNode, networks),
            (PlannerNode, networks),
            (PolicyNode, quick),
            (RecorderNode, {"folder": str(tmp_path / "recordings")}),
        ):
            options = parameters(values)
            graph.add(node(context=graph.context, parameter_overrides=options))
        self.clients = {
            kind: graph.client.create_client(kind, SERVICES[kind]) for kind in SERVICES
        }
        self.encoder_id = load_checkpoint(folder).encoder_id
        self.first = 0

    def good(self, kind):
        """A request that is right, but for states that do not allow it."""
        latent = latent_message(np.zeros(144, int), self.encoder_id)
        latents = latent_message(np.zeros((1, 144), int), self.encoder_id)
        image = Image(width=48, height=48, encoding="rgb8", step=144, data=bytes(48 * 48 * 3))
        return {
            ResetScene: lambda: kind.Request(task="A", protocol="paper", seed=3),
            JudgeEpisode: lambda: kind.Request(observation_seq=self.first),
            EncodeImage: lambda: kind.Request(images=[image]),
            DecodeLatent: lambda: kind.Request(latents=latents),
            FinishEpisode: lambda: kind.Request(verdict=FinishEpisode.Request.DISCARD),
            LabelEpisode: kind.Request if hasattr(kind, "Request") else None,
            GetEpisode: kind.Request if hasattr(kind, "Request") else None,
            PlanSubgoals: lambda: kind.Goal(start=latent, goal=Goal(latent=latent)),
            ReachGoal: lambda: kind.Goal(goal=Goal(latent=latent)),
            RecordEpisode: lambda: kind.Goal(task="A"),
        }[kind]()

    def ask(self, kind, request):
        """The answer; a recording that began is discarded."""
        if kind in SERVICES:
            client = self.clients[kind]
            self.graph.wait(client.service_is_ready, SERVICES[kind])
            return self.graph.finish(lambda: client.call_async(request))
        feedback = []
        handle = self.graph.send_goal(kind, ACTIONS[kind], request, feedback)
        if kind is RecordEpisode:
            done = self.graph.client.executor.create_task(handle.get_result_async)
            self.graph.wait(
                lambda: feedback or (done.done() and done.result().done()), "the start"
            )
            if feedback:
                self.ask(FinishEpisode, self.good(FinishEpisode))
        return self.graph.result(handle).result

    def change(self, what):
        for name in MANAGED:
            request = ChangeState.Request(transition=Transition(id=what))
            assert self.graph.call(ChangeState, f"{name}/change_state", request).success

    def standing(self):
        """What must not change: the scene, its steps, the episodes."""
        table = self.ask(JudgeEpisode, JudgeEpisode.Request())
        kept = self.ask(GetEpisode, GetEpisode.Request())
        parts = list(table.check_names), list(table.check_values), table.success
        return table.error_code, table.steps, parts, kept.episodes

    def refuses_everything(self):
        """Each field of each interface wrong in turn."""
        before = self.standing()
        logs = self.graph.logs()
        for kind in (*SERVICES, *ACTIONS):
            request = self.good(kind)
            for field, value in wrong(request):
                bad = self.good(kind)
                if isinstance(value, str) and value == getattr(bad, field):
                    continue
                setattr(bad, field, value)
                answer = self.ask(kind, bad)
                where = f"{kind.__name__}.{field} = {str(value)[:40]}: {answer.error_msg}"
                if (kind, field) not in FREE:
                    assert answer.error_code != ErrorCode.NONE, where
                    assert answer.error_msg and "\n" not in answer.error_msg, where
                assert answer.error_code != ErrorCode.INTERNAL, where
                assert not BLANK.search(answer.error_msg), where
                assert self.standing() == before, where
        assert [line for line in logs.lines() if BLANK.search(line)] == []


@pytest.fixture
def robot(checkpoint, tmp_path):
    with Graph() as graph:
        yield Robot(graph, checkpoint, tmp_path)


def works(robot):
    """All that can be asked for is done after all of it."""
    answer = robot.ask(ResetScene, robot.good(ResetScene))
    assert answer.error_code == ErrorCode.NONE, answer.error_msg
    robot.first = answer.observation_seq
    for kind in (JudgeEpisode, EncodeImage, DecodeLatent, PlanSubgoals):
        answer = robot.ask(kind, robot.good(kind))
        assert answer.error_code == ErrorCode.NONE, (kind, answer.error_msg)


def test_before_there_is_a_scene(robot):
    robot.refuses_everything()
    works(robot)


def test_while_a_scene_stands(robot):
    works(robot)
    robot.refuses_everything()
    works(robot)


def test_while_the_managed_nodes_are_inactive(robot):
    works(robot)
    robot.change(Transition.TRANSITION_DEACTIVATE)
    robot.refuses_everything()
    for kind in (EncodeImage, DecodeLatent, FinishEpisode, *ACTIONS):
        answer = robot.ask(kind, robot.good(kind))
        assert answer.error_code == ErrorCode.NOT_ACTIVE, (kind, answer.error_msg)
    robot.change(Transition.TRANSITION_ACTIVATE)
    works(robot)
