# SPDX-License-Identifier: Apache-2.0
"""The planner node plans as the library does, reports, can be canceled, and refuses nonsense."""

import hashlib

import numpy as np
import pytest
import torch
from action_msgs.msg import GoalStatus
from ptp_interfaces.action import PlanSubgoals
from ptp_interfaces.msg import EpisodeStatus, ErrorCode, Goal, LatentArray, SubgoalPlan
from safetensors.numpy import load_file

from ptp_core.agents.agent import ImageGoal, LatentGoal
from ptp_core.agents.ptp import make_planner
from ptp_core.config import PlannerConfig
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.policy_library import save_finetuned
from ptp_core.tiny_networks import tiny_finetuned
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_ros.agent_messages import goal_message, latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import LATCHED, PLAN, PLAN_OUTCOME


@pytest.fixture
def start(graph, folder):
    def start(**values):
        options = parameters({"checkpoint": str(folder), "method": "ptp", **values})
        return graph.add(PlannerNode(context=graph.context, parameter_overrides=options))

    return start


@pytest.fixture
def request_(folder):
    rng = np.random.default_rng(2)
    encoder = load_checkpoint(folder).encoder_id
    start, goal = (latent_message(rng.integers(0, 32, 144), encoder) for _ in range(2))
    return PlanSubgoals.Goal(start=start, goal=Goal(latent=goal), seed=41)


def ends_of(request):
    """Codes of start and goal, int64 (2, 144)."""
    return np.array([request.start.indices, request.goal.latent.indices], np.int64)


def subgoals_of(message):
    """Codes (K, 144)."""
    return np.reshape(message.subgoals.indices, tuple(message.subgoals.shape))


def plan(graph, goal, feedback=None):
    return graph.result(graph.send_goal(PlanSubgoals, "plan_subgoals", goal, feedback))


def test_the_plan_is_that_of_the_library_to_the_bit(graph, start, folder, request_):
    start()
    plans = graph.collect(SubgoalPlan, PLAN, LATCHED)
    feedback = []
    answer = plan(graph, request_, feedback)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    checkpoint = load_checkpoint(folder)
    codes = ends_of(request_)
    expected = make_planner(checkpoint).plan(
        *checkpoint.vqvae.lookup(torch.from_numpy(codes)), torch.Generator().manual_seed(41)
    )
    message = answer.result.plan
    assert np.array_equal(subgoals_of(message), expected.codes)
    assert (message.start, message.goal) == (request_.start, request_.goal.latent)
    assert message.count == len(expected.codes)
    assert message.cost == expected.cost
    assert dict(zip(message.cost_names, message.cost_values, strict=True)) == expected.costs
    assert (message.seed, message.preset, message.plan_id) == (41, "checkpoint", 1)
    with torch.no_grad():
        images = checkpoint.vqvae.decode(expected.latents).numpy()
    assert np.array_equal([image_to_array(p) for p in message.images], images)
    graph.wait(lambda: plans, "the latched plan")
    assert plans[0] == message
    graph.wait(lambda: len(feedback) == 6, "feedback of 3 levels, 2 evaluations each")
    assert [f.level for f in feedback] == [0, 0, 1, 1, 2, 2]
    assert all(np.isfinite(f.best_cost) for f in feedback)


def test_a_goal_that_is_shown_is_encoded_first(graph, start, folder, request_):
    start()
    checkpoint = load_checkpoint(folder)
    pixels = np.random.default_rng(5).integers(0, 256, (48, 48, 3), np.uint8)
    with torch.no_grad():
        codes = checkpoint.vqvae.encode(torch.from_numpy(pixels)[None])[0].numpy()
    request_.goal = goal_message(LatentGoal(codes), checkpoint.encoder_id)
    encoded = plan(graph, request_).result.plan
    request_.goal = goal_message(ImageGoal({"camera": pixels}))
    shown = plan(graph, request_).result.plan
    assert (shown.goal, shown.subgoals) == (encoded.goal, encoded.subgoals)
    assert shown.cost == encoded.cost


def test_another_seed_gives_another_plan(graph, start, request_):
    start()
    first = plan(graph, request_).result.plan
    request_.seed = 42
    assert plan(graph, request_).result.plan.cost != first.cost


def test_settings_can_be_overridden_one_by_one(graph, start, request_):
    start(**{"planner.iterations": 1, "preset": "fast"})
    feedback = []
    message = plan(graph, request_, feedback).result.plan
    assert (message.count, message.preset) == (8, "fast")
    graph.wait(lambda: len(feedback) == 6, "feedback of 3 levels, 2 evaluations each")


@pytest.mark.parametrize("preset", ["checkpoint", "fast"])
def test_the_method_says_what_a_plan_is_made_up_of(graph, start, request_, preset):
    start(method="ptp_single_subgoal", preset=preset)
    feedback = []
    message = plan(graph, request_, feedback).result.plan
    assert message.count == 2  # the second is the goal
    assert np.array_equal(subgoals_of(message)[1], request_.goal.latent.indices)
    graph.wait(lambda: feedback, "feedback")
    assert {entry.levels for entry in feedback} == {1}


def test_the_single_subgoal_is_the_default(graph, folder, request_):
    options = parameters({"checkpoint": str(folder)})
    graph.add(PlannerNode(context=graph.context, parameter_overrides=options))
    assert plan(graph, request_).result.plan.count == 2


def test_a_method_without_plans_makes_none(graph, start, request_):
    node = start(method="model_free")
    assert node.active
    answer = plan(graph, request_)
    assert answer.result.error_code == ErrorCode.BAD_REQUEST
    assert "model_free pursues the goal itself" in answer.result.error_msg


def test_every_planner_setting_is_a_parameter_with_its_description(start):
    node = start()
    for name in PlannerConfig.__dataclass_fields__:
        assert node.has_parameter(f"planner.{name}")
    text = node.describe_parameter("planner.samples").description
    assert text.startswith("candidate plans a segment and an iteration")


def test_a_long_plan_can_be_canceled_and_the_next_one_works(graph, start, request_):
    start(**{"planner.iterations": 500, "planner.sigmas": [0.1] * 500})
    feedback = []
    handle = graph.send_goal(PlanSubgoals, "plan_subgoals", request_, feedback)
    graph.wait(lambda: feedback, "the first feedback")
    graph.finish(handle.cancel_goal_async)
    answer = graph.result(handle)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == ErrorCode.CANCELED
    seen = len(feedback)
    handle = graph.send_goal(PlanSubgoals, "plan_subgoals", request_, feedback)
    graph.wait(lambda: len(feedback) > seen + 1, "feedback of the next plan")


def test_a_second_goal_is_refused_while_one_runs(graph, start, request_):
    start(**{"planner.iterations": 500, "planner.sigmas": [0.1] * 500})
    feedback = []
    graph.send_goal(PlanSubgoals, "plan_subgoals", request_, feedback)
    graph.wait(lambda: feedback, "the first feedback")
    answer = plan(graph, request_)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == ErrorCode.BUSY
    seen = len(feedback)
    graph.wait(lambda: len(feedback) > seen, "more feedback of the first")


def test_nonsense_is_refused_with_its_reason_and_the_node_lives_on(graph, start, request_):
    start()
    for change, code, text in [
        (
            {"goal": Goal(latent=latent_message(np.full(144, 500), request_.start.encoder_id))},
            ErrorCode.BAD_LATENT,
            "goal's latent has index 500",
        ),
        ({"goal": Goal(instruction="tidy up")}, ErrorCode.BAD_REQUEST, "not a goal of kind lang"),
        (
            {"start": latent_message(np.zeros(144, int), "other")},
            ErrorCode.WRONG_ENCODER,
            "same checkpoint",
        ),
        ({"start": LatentArray()}, ErrorCode.BAD_LATENT, "the start is empty"),
        ({"preset": "quickest"}, ErrorCode.BAD_REQUEST, '"quickest" is neither a preset'),
    ]:
        good = {name: getattr(request_, name) for name in change}
        for name, value in change.items():
            setattr(request_, name, value)
        answer = plan(graph, request_)
        assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_ABORTED, code)
        assert text in answer.result.error_msg
        for name, value in good.items():
            setattr(request_, name, value)
    assert plan(graph, request_).status == GoalStatus.STATUS_SUCCEEDED


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"preset": "quickest"}, ErrorCode.BAD_REQUEST, "neither a preset"),
        (
            {"planner.levels": 2},
            ErrorCode.BAD_REQUEST,
            'method ptp plans with "levels" 3, but the planner settings say 2',
        ),
        ({"planner.samples": 0}, ErrorCode.BAD_REQUEST, "samples is 0; it must be at least 1"),
        ({"checkpoint": "/nowhere"}, ErrorCode.BAD_CHECKPOINT, "/nowhere: no checkpoint"),
        ({"checkpoint": ""}, ErrorCode.BAD_CHECKPOINT, "no checkpoint given"),
    ],
)
def test_a_wrong_setting_leaves_a_node_that_says_so(graph, start, request_, values, code, text):
    start(**values)
    answer = plan(graph, request_)
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_ABORTED, code)
    assert text in answer.result.error_msg


def test_a_plan_that_worked_is_kept_and_done_again(graph, start, request_, tmp_path):
    path = tmp_path / "plans.safetensors"
    node = start(plan_library=str(path))
    outcomes = graph.publisher(EpisodeStatus, PLAN_OUTCOME, LATCHED)
    plans = []
    for number in range(12):
        request_.seed, request_.episode_id = number, f"run/{number}"
        plans.append(plan(graph, request_).result.plan.cost)
        for episode in ("another", f"run/{number}"):
            status = EpisodeStatus(episode_id=episode, state=EpisodeStatus.JUDGED, success=True)
            outcomes.publish(status)
        graph.wait(lambda count=number + 1: trials(path) == count, "the verdict in the file")
    assert 1 <= len(set(plans)) < 12
    graph.remove(node)
    assert start(plan_library=str(path)).active
    assert plan(graph, request_).result.error_code == ErrorCode.NONE


def test_a_goal_that_was_practised_is_planned_for_with_its_networks_and_plans(
    graph, start, folder, request_, tmp_path
):
    checkpoint = load_checkpoint(folder)
    ends = ends_of(request_)
    latents = checkpoint.vqvae.lookup(torch.from_numpy(ends))
    planned = make_planner(checkpoint).plan(*latents, torch.Generator().manual_seed(9))
    library = PlanLibrary(checkpoint.encoder_id)
    library.judge(library.add(planned, *latents), success=True)
    path = tmp_path / "A.safetensors"
    save_finetuned(path, checkpoint, "iql", latents[1:].numpy(), library, {})
    start(finetuned=str(tmp_path))
    found = plan(graph, request_).result.plan
    assert np.array_equal(subgoals_of(found), planned.codes)
    version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert found.weights_version == version


def test_plans_of_a_library_and_of_fine_tuned_policies_do_not_mix(
    graph, start, folder, request_, tmp_path
):
    checkpoint = load_checkpoint(folder)
    tiny_finetuned(tmp_path / "A.safetensors", checkpoint, torch.zeros(720), 1)
    library = str(tmp_path / "plans")
    node = start(finetuned=str(tmp_path), plan_library=library)
    answer = plan(graph, request_)
    assert (answer.status, answer.result.error_code) == (
        GoalStatus.STATUS_ABORTED,
        ErrorCode.BAD_REQUEST,
    )
    assert "a plan library or fine-tuned policies, not both" in answer.result.error_msg
    graph.remove(node)
    start(finetuned=str(tmp_path), plan_library=library, reuse_plans=False)
    assert plan(graph, request_).status == GoalStatus.STATUS_SUCCEEDED


def test_without_reused_plans_every_episode_is_planned_anew(graph, start, request_, tmp_path):
    path = tmp_path / "plans.safetensors"
    start(plan_library=str(path), reuse_plans=False)
    outcomes = graph.publisher(EpisodeStatus, PLAN_OUTCOME, LATCHED)
    costs = set()  # the tiny networks' plans have the same codes
    for number in range(3):
        request_.seed, request_.episode_id = number, f"run/{number}"
        costs.add(plan(graph, request_).result.plan.cost)
        outcomes.publish(EpisodeStatus(episode_id=f"run/{number}", success=True))
    assert len(costs) == 3 and not path.exists()


def test_a_library_that_another_signal_judged_is_refused(graph, start, request_, tmp_path):
    path = tmp_path / "plans.safetensors"
    node = start(plan_library=str(path), success_signal="simulator")
    outcomes = graph.publisher(EpisodeStatus, PLAN_OUTCOME, LATCHED)
    request_.episode_id = "run/1"
    plan(graph, request_)
    outcomes.publish(EpisodeStatus(episode_id="run/1", success=True))
    graph.wait(lambda: trials(path) == 1, "the verdict in the file")
    graph.remove(node)
    start(plan_library=str(path), success_signal="latent")
    answer = plan(graph, request_)
    assert answer.result.error_code == ErrorCode.BAD_CHECKPOINT
    assert "judged by the success signal simulator, not by latent" in answer.result.error_msg


def trials(path):
    """Of all plans in a file."""
    if not path.exists():
        return 0
    records = [tensor for name, tensor in load_file(path).items() if name.endswith("record")]
    return sum(int(record[1]) for record in records)
