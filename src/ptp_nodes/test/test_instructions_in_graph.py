# SPDX-License-Identifier: Apache-2.0
"""Instructions on the graph: what the policy node is told, shows, refuses and changes at once."""

import numpy as np
import pytest
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ErrorCode, Goal, SubgoalPlan
from std_msgs.msg import Float32MultiArray, String

from ptp_core.agents.agent import AgentSeeds, ImageGoal, LanguageGoal, LatentGoal, Observation
from ptp_core.agents.registry import build_agent
from ptp_core.errors import GoalError
from ptp_core.tiny_networks import SENTENCES, tiny_instructed_checkpoint
from ptp_ros.agent_messages import goal_message
from ptp_ros.topics import INSTRUCTION, LATCHED, PLAN, PLAN_ATTENTION

SAY, OTHER = SENTENCES[1], SENTENCES[2]
LONG = "go " * 200


@pytest.fixture(scope="module")
def lbp(tmp_path_factory):
    return _folder(tmp_path_factory, "lbp")


@pytest.fixture(scope="module")
def lcbc(tmp_path_factory):
    return _folder(tmp_path_factory, "lcbc")


def _folder(factory, name):
    folder = factory.mktemp("instructed") / name
    tiny_instructed_checkpoint(folder, name)
    return folder


def ask(robot, goal, **options):
    return robot.send(ReachGoal.Goal(goal=goal, seed=robot.SEED, **options))


def in_process(robot, name, shown, said):
    """Actions of the library's agent; ``said``: {step: goal}."""
    agent = build_agent(name, robot.checkpoint)
    agent.reset(Observation(latent=shown[0]), said[0], AgentSeeds(robot.SEED, robot.SEED))
    actions = []
    for step, codes in enumerate(shown):
        if step and step in said:
            agent.pursue(said[step])
        actions.append(agent.act(Observation(latent=codes)).action.tolist())
    return actions


@pytest.mark.parametrize("name", ["lbp", "lcbc", "lbp_forward", "glcbc"])
def test_an_instruction_alone_makes_an_episode_that_is_that_of_the_agent(
    graph, start_policy, tmp_path, name
):
    tiny_instructed_checkpoint(tmp_path / name, name)
    _, robot = start_policy(tmp_path / name, method=name, max_steps=4)
    words = graph.collect(String, INSTRUCTION, LATCHED)
    handle = ask(robot, Goal(instruction=SAY))
    shown = robot.walk(4)
    result = graph.result(handle).result
    assert (result.error_msg, result.steps) == ("", 4)
    graph.wait(lambda: len(robot.steps) == 4 and words, "steps")
    expected = in_process(robot, name, shown, {0: LanguageGoal(SAY)})
    assert [list(step.action) for step in robot.steps] == expected
    assert [message.data for message in words] == [SAY]


def test_the_backward_plan_and_the_attention_to_it_are_shown(graph, start_policy, lbp):
    _, robot = start_policy(lbp, method="lbp", max_steps=2)
    plans = graph.collect(SubgoalPlan, PLAN, LATCHED)
    shares = graph.collect(Float32MultiArray, PLAN_ATTENTION, LATCHED)
    handle = ask(robot, Goal(instruction=SAY))
    (first, _) = robot.walk(2)
    graph.result(handle)
    graph.wait(lambda: plans and shares, "plan and attention")
    agent = build_agent("lbp", robot.checkpoint)
    seeds = AgentSeeds(robot.SEED, robot.SEED)
    agent.reset(Observation(latent=first), LanguageGoal(SAY), seeds)
    decision = agent.act(Observation(latent=first))
    plan = plans[0]
    assert (plan.count, plan.start) == (3, robot.latent(first))
    assert plan.subgoals == robot.latent(decision.plan.codes.numpy())
    assert plan.goal == robot.latent(decision.plan.codes[-1].numpy())  # the far end is the goal
    assert len(shares[0].data) == 4  # near, far, goal, instruction
    assert list(shares[0].data) == pytest.approx(
        [decision.info[f"attention_{number}"] for number in range(4)]
    )


def test_a_new_sentence_in_the_middle_of_an_episode_is_pursued_from_the_next_step_on(
    graph, start_policy, lbp
):
    _, robot = start_policy(lbp, method="lbp", give_up_after=60.0)
    words = graph.collect(String, INSTRUCTION, LATCHED)
    plans = graph.collect(SubgoalPlan, PLAN, LATCHED)
    handle = ask(robot, Goal(instruction=SAY), episode_id="run/task_A_episode_0", max_steps=8)
    shown = robot.walk(3)
    graph.wait(lambda: plans and words, "the first plan")
    second = ask(robot, Goal(instruction=OTHER))
    asked = second.get_result_async()  # it is answered when a step pursues it
    graph.wait(lambda: robot.node._change._goal is not None, "the offer")
    for number in range(3, 8):
        shown.append(robot.show(robot.FIRST + number))
        robot.wait_for_commands(number + 1)
    graph.wait(asked.done, "answer to the second goal")
    assert asked.result().result.error_msg == ""
    result = graph.result(handle).result
    assert (result.error_msg, result.steps) == ("", 8)
    graph.wait(lambda: len(robot.steps) == 8 and len(words) == 2, "steps")
    said = {0: LanguageGoal(SAY), 3: LanguageGoal(OTHER)}
    assert [list(step.action) for step in robot.steps] == in_process(robot, "lbp", shown, said)
    assert [message.data for message in words] == [SAY, OTHER]
    at_once = robot.latent(shown[3])
    graph.wait(lambda: any(plan.start == at_once for plan in plans), "a plan of that step")


def test_a_second_goal_that_is_wrong_is_refused_and_the_first_goes_on(graph, start_policy, lbp):
    _, robot = start_policy(lbp, method="lbp", give_up_after=60.0)
    handle = ask(robot, Goal(instruction=SAY), episode_id="mine", max_steps=3)
    robot.walk(2)
    for goal, options, code, message in (
        (Goal(instruction="sing a song"), {}, ErrorCode.BAD_REQUEST, "not among the 3"),
        (Goal(), {}, ErrorCode.BAD_REQUEST, "the goal is empty"),
        (Goal(instruction=OTHER), {"episode_id": "another"}, ErrorCode.BUSY, "is running"),
        (
            Goal(instruction=OTHER),
            {"planning": ReachGoal.Goal.PURSUE_GOAL},
            ErrorCode.BUSY,
            "is running",
        ),
    ):
        result = graph.result(ask(robot, goal, **options)).result
        assert result.error_code == code and message in result.error_msg
    shown = [robot.show(robot.FIRST + 2)]
    assert graph.result(handle).result.steps == 3 and len(shown) == 1
    graph.wait(lambda: len(robot.steps) == 3, "steps")


def test_an_agent_of_subgoals_keeps_one_goal_at_a_time(start_policy):
    _, robot = start_policy(method="model_free")
    first = robot.send(robot.request(max_steps=50))
    robot.walk(1)
    answer = robot.graph.result(robot.send(robot.request())).result
    assert answer.error_code == ErrorCode.BUSY
    robot.graph.finish(first.cancel_goal_async)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (Goal(instruction=" "), "the goal is empty: give an instruction, images or a latent"),
        (Goal(instruction="sing a song"), f'"sing a song" is not among the 3 .* "{SAY}"'),
        (Goal(instruction=LONG), "600 characters; 400 are allowed"),
        (
            goal_message(ImageGoal({"wrist": np.zeros((48, 48, 3), np.uint8)})),
            'the goal has no image of camera "camera", which lbp needs',
        ),
        (
            goal_message(ImageGoal({"camera": np.zeros((5, 5, 3), np.uint8)})),
            r"is uint8 \(5, 5, 3\); lbp needs uint8 \(48, 48, 3\)",
        ),
    ],
    ids=["empty", "unknown", "long", "camera", "size"],
)
def test_a_goal_that_cannot_be_used_is_refused_at_once_with_the_reason(
    graph, start_policy, lbp, goal, message
):
    _, robot = start_policy(lbp, method="lbp")
    answer = graph.result(ask(robot, goal)).result  # nothing was shown yet
    assert (answer.error_code, answer.steps) == (ErrorCode.BAD_REQUEST, 0)
    with pytest.raises(GoalError, match=message):
        raise GoalError(answer.error_msg)
    assert "\n" not in answer.error_msg
    assert not robot.commands and not robot.steps


def test_who_takes_words_alone_refuses_pictures_and_latents(graph, start_policy, lcbc):
    _, robot = start_policy(lcbc, method="lcbc")
    image = {"camera": np.zeros((48, 48, 3), np.uint8)}
    for goal in (ImageGoal(image), LatentGoal(robot.goal)):
        answer = graph.result(ask(robot, goal_message(goal, robot.checkpoint.encoder_id))).result
        assert answer.error_code == ErrorCode.BAD_REQUEST
        assert f"lcbc takes language goals, not a goal of kind {goal.kind}" in answer.error_msg
    assert not robot.commands
