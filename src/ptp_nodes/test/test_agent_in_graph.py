# SPDX-License-Identifier: Apache-2.0
"""The graph runs agents of other kinds: the toy, with words, two cameras and seven joints.

And an agent that plans for itself, asked with an image by a client that gives no signs of life.
"""

import dataclasses

import numpy as np
import pytest
import torch
from ptp_interfaces.action import PlanSubgoals, ReachGoal
from ptp_interfaces.msg import (
    ArmState,
    CartesianDelta,
    ErrorCode,
    Goal,
    Observation,
    PolicyUpdate,
    StepInfo,
    SubgoalPlan,
)
from std_msgs.msg import Header

from ptp_core.agents import registry
from ptp_core.agents.agent import AgentSeeds, Decision, ImageGoal, LatentGoal
from ptp_core.agents.agent import Observation as Seen
from ptp_core.agents.registry import build_agent, register
from ptp_core.data.dataset import Dataset
from ptp_core.episodes.import_bags import find_sources, import_bags
from ptp_core.episodes.import_filter import Selection
from ptp_core.policies.live_weights import LiveWeights, WeightsUpdate
from ptp_core.rollout.episode_results import EpisodeSeeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.toy_agent import CAMERAS, JOINTS, TOY, ToyAgent, register_toy, save_toy
from ptp_core.toy_env import ToyArm
from ptp_core.training.checkpoint import load_checkpoint, save_again
from ptp_nodes.episodes.recorder_testing import ASK, finish, get, record
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.learner_node import LearnerNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_ros.agent_messages import goal_message, latent_message, observation_message
from ptp_ros.graph_testing import parameters
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    KEPT,
    LATCHED,
    OBSERVATION,
    PLAN,
    POLICY_COMMAND,
    POLICY_UPDATE,
    RECORDS,
    STEP,
    STREAM,
)

FIRST = 5  # number of the first observation
WORDS = "move all joints up"
SEED = 3


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A checkpoint of the toy whose actions depend on all that it sees."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_toy()
    save_toy(tmp_path / "plain")
    mix(checkpoint := load_checkpoint(tmp_path / "plain"), seed=0)
    save_again(tmp_path / "toy", checkpoint, {})
    return tmp_path / "toy"


def mix(checkpoint, seed):
    """Random weights in the layer; the layer."""
    layer = checkpoint.part("toy_layer")
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(seed))
    return layer


class ToyArmBridge:
    """The toy arm on the graph: shows observations and states, moves by the actions of steps."""

    def __init__(self, graph, checkpoint, recorded=False, **values):
        self.graph = graph
        given = {"fresh_for": 60.0, "keep_alive": 0.0, "command_arm": False, "method": "toy"}
        options = parameters({"checkpoint": str(checkpoint), **given, **values})
        self.node = graph.add(PolicyNode(context=graph.context, parameter_overrides=options))
        self.steps = graph.collect(StepInfo, STEP, RECORDS)
        self.commands = graph.collect(CartesianDelta, POLICY_COMMAND, COMMANDS)
        self.observations = self._publisher(Observation, OBSERVATION, STREAM, recorded)
        self.states = self._publisher(ArmState, ARM_STATE, KEPT, recorded)
        self.env = ToyArm()
        self.raw, self.info = self.env.reset(seed=SEED, options={"task": "up"})
        self.shown = [self.raw]

    def _publisher(self, kind, topic, kept, recorded):
        """One that the policy node hears where it is active, and a recorder where there is one."""
        made = HistoryPublisher(self.graph.client, kind, topic, kept)
        if self.node.active:
            self.graph.wait(made.newest.get_subscription_count, f"reader of {topic}")
        if recorded:
            self.graph.wait(made.history.get_subscription_count, f"recorder of {topic}")
        return made

    def ask(self, goal, **options):
        return self.graph.send_goal(ReachGoal, "reach_goal", ReachGoal.Goal(goal=goal, **options))

    def show(self, cameras=("front", "wrist"), **felt):
        """The newest observation, without moving."""
        seq = FIRST + len(self.shown) - 1
        header = Header(stamp=self.graph.client.get_clock().now().to_msg())
        images = {camera: self.raw[camera] for camera in cameras}
        felt = (JOINTS, felt.get("felt", self.raw["proprioception"]))
        self.observations.publish(observation_message(seq, header, images, proprioception=felt))

    def move(self):
        """Carry out the answer to the newest observation, then say so; show nothing new yet."""
        number = len(self.shown) - 1
        self.graph.wait(lambda: len(self.steps) > number, f"step {number}")
        step = self.steps[number]
        self.raw, *_, self.info = self.env.step(np.array(step.action, np.float32))
        self.shown.append(self.raw)
        seq = step.observation_seq + 1
        self.states.publish(ArmState(observation_seq=seq, moved=True, command=step.command))
        return step


def in_process(checkpoint, steps, update=None, swapped=0):
    """Actions (N, 7) of the library's own loop; ``update`` is used from step ``swapped`` on."""
    loaded = load_checkpoint(checkpoint)
    agent = build_agent("toy", loaded)
    live, actions = LiveWeights(agent.learned, loaded.encoder_id), []

    def note(decision):
        actions.append(decision.action)
        if len(actions) == swapped:
            assert live.stage(update) and live.swap()

    seeds = EpisodeSeeds(env=SEED, plan=1, policy=1)
    options = {"task": "up"}
    run_episode(ToyArm(), agent, options=options, seeds=seeds, max_steps=steps, on_step=note)
    return np.array(actions)


def test_the_toy_acts_on_the_graph_as_in_process_learns_and_is_recorded(graph, toy, tmp_path):
    session = tmp_path / "session"
    options = parameters({"folder": str(session), "min_free": 0})
    graph.add(RecorderNode(context=graph.context, parameter_overrides=options))
    scene = ToyArmBridge(graph, toy, recorded=True)
    updates = graph.publisher(PolicyUpdate, POLICY_UPDATE, LATCHED)
    wanted = Goal(instruction=WORDS)
    record(graph, episode_id="e", task="up", goal=wanted, first_observation_seq=FIRST)
    handle = scene.ask(wanted, episode_id="e", seed=1, max_steps=300, first_observation_seq=FIRST)
    scene.states.publish(ArmState(observation_seq=FIRST))
    scene.show()
    for _ in range(4):
        old = scene.move().command.weights_version
        scene.show()
    update = WeightsUpdate.of(mix(load_checkpoint(toy), seed=1), 1, "")
    message = PolicyUpdate(version=1, sha256=update.sha256)
    message.weights.frombytes(update.content)
    updates.publish(message)
    new = []
    while len(new) < 4:  # it is checked aside: some more steps come from the old weights
        assert len(scene.shown) < 200
        step = scene.move()
        new += [step] if step.command.weights_version == f"{old}+1" else []
        if len(new) < 4:
            scene.show()
    graph.finish(handle.cancel_goal_async)
    result = graph.result(handle).result
    scene.show()  # the end of the episode
    total = len(scene.steps)
    assert (result.error_code, result.steps) == (ErrorCode.CANCELED, total)
    assert np.isnan(result.distance) and not scene.commands

    actions = np.array([step.action for step in scene.steps])
    expected = in_process(toy, total, update, swapped=total - 4)
    assert np.array_equal(actions, expected)
    assert np.array_equal(actions[: total - 4], in_process(toy, total)[: total - 4])
    assert np.abs(actions[-4:] - in_process(toy, total)[-4:]).max() > 0.05
    assert len(np.unique(actions, axis=0)) == total
    for number, step in enumerate(scene.steps):
        assert (step.step, step.observation_seq) == (number, FIRST + number)
        assert step.action_names == list(JOINTS)
        assert not step.latent.shape and not step.target.shape
        assert np.isnan(step.distance) and np.isnan(step.reward)

    last = FIRST + total
    answer = finish(graph, ASK.SAVE_SUCCESS, end_reason="judged", last_observation_seq=last)
    assert answer.saved, answer.error_msg
    episode = get(graph, answer.number).episode
    assert (episode.count, episode.instruction, episode.task) == (total, WORDS, "up")
    assert (list(episode.action_names), any(episode.breaks)) == (list(JOINTS), False)
    assert np.array_equal(np.reshape(episode.actions, (total, 7)), actions)
    felt = np.stack([seen["proprioception"] for seen in scene.shown])
    assert np.array_equal(np.reshape(episode.proprioception, (total + 1, 7)), felt)
    assert not episode.latents.shape and not episode.targets.shape
    assert list(episode.weights_versions) == [old] * (total - 4) + [f"{old}+1"] * 4

    import_bags(find_sources([session]), tmp_path / "data.h5", selection=Selection(1, 0))
    (trajectory,) = Dataset(tmp_path / "data.h5")
    begin = trajectory.metadata.extra["first_step"]
    part = slice(begin, begin + len(trajectory.actions))
    assert len(trajectory.actions) > total - 3
    assert np.array_equal(trajectory.actions, actions[part])
    for camera in CAMERAS:
        shown = np.stack([seen[camera.name] for seen in scene.shown])
        assert np.array_equal(trajectory.images[camera.name], shown[part])
    assert np.array_equal(trajectory.proprioception, felt[part])
    assert trajectory.metadata.instruction == WORDS


def test_an_episode_of_the_toy_ends_after_its_steps(graph, toy):
    scene = ToyArmBridge(graph, toy)
    handle = scene.ask(Goal(instruction=WORDS), max_steps=6, planning=ReachGoal.Goal.PURSUE_GOAL)
    for _ in range(6):
        scene.show()
        scene.move()
    result = graph.result(handle).result
    assert (result.error_msg, result.steps, result.last_observation_seq) == ("", 6, FIRST + 5)
    actions = np.array([step.action for step in scene.steps])
    assert np.array_equal(actions, in_process(toy, 6))


def test_what_such_an_agent_lacks_is_named(graph, toy):
    scene = ToyArmBridge(graph, toy, give_up_after=1.0, stale_after=0.5)
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in CAMERAS}
    answer = graph.result(scene.ask(goal_message(ImageGoal(images)))).result
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "toy takes language goals, not a goal of kind image" in answer.error_msg
    handle = scene.ask(Goal(instruction=WORDS))
    scene.show(cameras=["front"])
    answer = graph.result(handle).result
    assert (answer.error_code, answer.steps) == (ErrorCode.BAD_IMAGE, 0)
    assert 'no image of camera "wrist", which toy needs' in answer.error_msg
    handle = scene.ask(Goal(instruction=WORDS))
    scene.shown.append(scene.raw)
    scene.show(felt=np.full(7, np.nan, np.float32))
    assert "values that are not finite" in graph.result(handle).result.error_msg
    plan = SubgoalPlan(count=1)
    handle = scene.ask(Goal(instruction=WORDS), planning=ReachGoal.Goal.PURSUE_PLAN, plan=plan)
    assert "toy has no latents" in graph.result(handle).result.error_msg
    assert not scene.steps


def test_other_actions_are_no_commands_of_an_arm(graph, toy):
    logs = graph.logs()
    scene = ToyArmBridge(graph, toy, command_arm=True)
    logs.expect("toy gives joint_0, joint_1")
    assert not scene.node.active
    answer = graph.result(scene.ask(Goal(instruction=WORDS))).result
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "set command_arm to false" in answer.error_msg


def test_settings_of_subgoals_are_none_of_an_agent_without(graph, toy):
    logs = graph.logs()
    scene = ToyArmBridge(graph, toy, **{"follower.timeout": 5})
    logs.expect("follower settings are for methods that pursue subgoals; toy has its own")
    assert not scene.node.active


class HaltingAgent(ToyAgent):
    """A faulty one: six numbers, then an exception of its own."""

    calls = 0

    def act(self, observation, cancelled=None):
        HaltingAgent.calls += 1
        if HaltingAgent.calls % 2:
            raise ZeroDivisionError("its own fault")
        return Decision(super().act(observation, cancelled).action[:6])


def test_a_faulty_agent_ends_the_goal_with_an_error_and_no_step(graph, toy, monkeypatch):
    monkeypatch.setattr(HaltingAgent, "calls", 1)  # the first answer is that of the warm-up
    register(dataclasses.replace(TOY, name="halting", build=HaltingAgent))
    scene = ToyArmBridge(graph, toy, method="halting")
    assert scene.node.active
    for text in ("its own fault", "gave an action of shape (6,); its spec names 7 numbers"):
        handle = scene.ask(Goal(instruction=WORDS))
        scene.show()
        answer = graph.result(handle).result
        assert (answer.error_code, answer.steps) == (ErrorCode.INTERNAL, 0)
        assert text in answer.error_msg
        scene.shown.append(scene.raw)
    assert not scene.steps


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        (EncoderNode, {}, "toy has no encoder: leave this node out"),
        (LearnerNode, {"folder": "learner"}, "toy learns from demonstrations alone"),
    ],
)
def test_nodes_that_the_toy_does_not_need_say_so(graph, toy, tmp_path, node, values, message):
    logs = graph.logs()
    values = {name: str(tmp_path / value) for name, value in values.items()}
    options = parameters({"checkpoint": str(toy), **values})
    started = graph.add(node(context=graph.context, parameter_overrides=options))
    logs.expect(message)
    assert not started.active


def test_nobody_plans_for_the_toy(graph, toy):
    options = parameters({"checkpoint": str(toy), "method": "toy"})
    graph.add(PlannerNode(context=graph.context, parameter_overrides=options))
    request = PlanSubgoals.Goal(goal=Goal(instruction=WORDS))
    answer = graph.result(graph.send_goal(PlanSubgoals, "plan_subgoals", request)).result
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "method toy pursues the goal itself: it has no plans" in answer.error_msg


def test_an_instruction_is_refused_by_an_agent_without_language_and_the_arm_stays(start_policy):
    _, robot = start_policy()
    robot.show(robot.FIRST)
    handle = robot.send(ReachGoal.Goal(goal=Goal(instruction="open the drawer")))
    answer = robot.graph.result(handle).result
    assert (answer.error_code, answer.steps) == (ErrorCode.BAD_REQUEST, 0)
    assert "takes image or latent goals, not a goal of kind language" in answer.error_msg
    assert np.isnan(answer.distance)  # 0 would be at the goal
    assert not robot.commands and not robot.steps


@pytest.mark.parametrize("shown", [False, True])
def test_an_agent_plans_for_itself_for_whoever_gives_a_goal_alone(graph, start_policy, shown):
    # No episode is named, so no signs of life are waited for.
    _, robot = start_policy(method="ptp", keep_alive=0.15, max_steps=4)
    plans = graph.collect(SubgoalPlan, PLAN, LATCHED)
    image = np.random.default_rng(3).integers(0, 256, (48, 48, 3), np.uint8)
    goal = ImageGoal({"camera": image}) if shown else LatentGoal(robot.goal)
    message = goal_message(goal, robot.checkpoint.encoder_id)
    message.cameras = []
    handle = robot.send(ReachGoal.Goal(goal=message, seed=robot.SEED))
    seen = robot.walk(4)
    assert graph.result(handle).result.steps == 4
    agent = build_agent("ptp", robot.checkpoint)
    agent.reset(Seen(latent=seen[0]), goal, AgentSeeds(robot.SEED, robot.SEED))
    decisions = [agent.act(Seen(latent=codes)) for codes in seen]
    graph.wait(lambda: len(robot.steps) == 4 and plans, "steps and plan")
    for step, decision in zip(robot.steps, decisions, strict=True):
        assert step.action.tolist() == decision.action.tolist()
        assert step.target == robot.latent(decision.target)
        assert step.subgoal_count == 8
    (plan,) = plans
    assert plan.subgoals == robot.latent(decisions[0].plan.codes.numpy())
    assert plan.goal == latent_message(agent.goal_latent, robot.checkpoint.encoder_id)
    assert (plan.count, plan.start) == (8, robot.latent(seen[0]))


def test_a_client_without_signs_of_life_gets_no_more_steps_than_the_node_allows(start_policy):
    _, robot = start_policy(method="model_free", keep_alive=0.15, max_steps=2)
    request = ReachGoal.Goal(goal=Goal(latent=robot.latent(robot.goal)), max_steps=50)
    handle = robot.send(request)
    robot.walk(2)
    assert robot.graph.result(handle).result.steps == 2
