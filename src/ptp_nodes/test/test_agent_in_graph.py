# SPDX-License-Identifier: Apache-2.0
"""The policy node runs agents of other kinds: words, cameras, proprioception, other actions.

And an agent that plans for itself, asked with an image by a client that gives no signs of life.
"""

import numpy as np
import pytest
from ptp_core.practice.search import make_search
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import CartesianDelta, ErrorCode, Goal, Observation, StepInfo, SubgoalPlan
from std_msgs.msg import Header

from ptp_core.agents.agent import (
    AgentSeeds,
    AgentSpec,
    CameraSpec,
    Decision,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
)
from ptp_core.agents.agent import Observation as Seen
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_ros.agent_messages import goal_message, latent_message, observation_message
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import COMMANDS, LATCHED, OBSERVATION, PLAN, POLICY_COMMAND, RECORDS, STEP

FELT = ("x [m]", "y [m]", "yaw [rad]")


class WordsAgent:
    """Answers words, two images and proprioception with seven numbers."""

    spec = AgentSpec(
        agent="words",
        cameras=(CameraSpec("front", 8, 12), CameraSpec("wrist", 4, 4)),
        actions=tuple(f"joint_{number}" for number in range(1, 8)),
        goals=("language",),
        proprioception=FELT,
    )

    def reset(self, observation, goal, seeds, *, subgoals=None, cancelled=None):
        self.spec.check_goal(goal)
        self.goal, self.first = goal.text, observation.seq

    def act(self, observation, cancelled=None):
        self.spec.check_observation(observation)
        means = [observation.images[c.name].mean() / 255 for c in self.spec.cameras]
        numbers = [*means, *observation.proprioception, len(self.goal) / 100, self.first / 100]
        return Decision(np.clip(np.array(numbers, np.float32), -1, 1))

    def distance(self, observation):
        return None


class WordsNode(PolicyNode):
    """The policy node with that agent."""

    def _make_agent(self, policies):
        return WordsAgent()


class Scene:
    """A simulator that takes actions of seven numbers from the steps."""

    def __init__(self, graph, folder, **values):
        self.graph = graph
        given = {"checkpoint": str(folder), "fresh_for": 60.0, "command_arm": False, **values}
        options = parameters(given)
        self.node = graph.add(WordsNode(context=graph.context, parameter_overrides=options))
        self.steps = graph.collect(StepInfo, STEP, RECORDS)
        self.commands = graph.collect(CartesianDelta, POLICY_COMMAND, COMMANDS)
        readers = int(self.node.active)
        self.observations = graph.publisher(Observation, OBSERVATION, LATCHED, readers)

    def show(self, seq, cameras=("front", "wrist"), felt=(0.1, 0.2, 0.3)):
        sizes = {c.name: (c.height, c.width, 3) for c in WordsAgent.spec.cameras}
        images = {c: np.full(sizes[c], 10 * seq + len(c), np.uint8) for c in cameras}
        header = Header(stamp=self.graph.client.get_clock().now().to_msg())
        message = observation_message(seq, header, images, proprioception=(FELT, np.array(felt)))
        self.observations.publish(message)
        felt = np.array(felt, np.float32)
        return Seen(images, felt, seq)

    def ask(self, goal, **options):
        return self.graph.send_goal(ReachGoal, "reach_goal", ReachGoal.Goal(goal=goal, **options))


def test_words_two_cameras_and_proprioception_become_seven_numbers(graph, folder):
    scene = Scene(graph, folder)
    handle = scene.ask(Goal(instruction="open the drawer"), max_steps=3)
    agent, expected = WordsAgent(), []
    for number in range(3):
        seen = scene.show(5 + number)
        if not number:
            agent.reset(seen, LanguageGoal("open the drawer"), AgentSeeds(0, 0))
        expected.append(agent.act(seen).action)
        graph.wait(lambda count=number: len(scene.steps) > count, "the step")
    result = graph.result(handle).result
    assert (result.error_msg, result.steps, result.last_observation_seq) == ("", 3, 7)
    assert np.isnan(result.distance)
    for step, action in zip(scene.steps, expected, strict=True):
        assert step.action.tolist() == action.tolist()
        assert step.action_names == list(WordsAgent.spec.actions)
        assert not step.latent.shape and not step.target.shape
        assert np.isnan(step.distance) and np.isnan(step.reward)
        assert step.command.observation_seq == step.observation_seq
    assert not scene.commands


def test_what_such_an_agent_lacks_is_named(graph, folder):
    scene = Scene(graph, folder, give_up_after=0.3, stale_after=0.1)
    pixels = np.zeros((8, 12, 3), np.uint8)
    picture = goal_message(ImageGoal({"front": pixels, "wrist": pixels[:4, :4]}))
    answer = graph.result(scene.ask(picture)).result
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "words takes language goals, not a goal of kind image" in answer.error_msg
    handle = scene.ask(Goal(instruction="open the drawer"))
    scene.show(1, cameras=["front"])
    answer = graph.result(handle).result
    assert (answer.error_code, answer.steps) == (ErrorCode.BAD_IMAGE, 0)
    assert 'no image of camera "wrist", which words needs' in answer.error_msg
    handle = scene.ask(Goal(instruction="open the drawer"))
    scene.show(2, felt=(0.1, 0.2, np.nan))
    assert "values that are not finite" in graph.result(handle).result.error_msg
    assert not scene.steps


def test_other_actions_are_no_commands_of_an_arm(graph, folder):
    logs = graph.logs()
    scene = Scene(graph, folder, command_arm=True)
    logs.expect("words gives joint_1, joint_2")
    assert not scene.node.active
    answer = graph.result(scene.ask(Goal(instruction="open the drawer"))).result
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "set command_arm to false" in answer.error_msg


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
    search = make_search("ptp", robot.checkpoint)
    agent = SubgoalAgent(robot.checkpoint, search.planner, search.follower)
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
