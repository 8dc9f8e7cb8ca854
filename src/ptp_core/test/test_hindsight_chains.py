# SPDX-License-Identifier: Apache-2.0
"""Practice for LBP: what succeeded teaches its instruction, anything else its own chain."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.agents.registry import method_named
from ptp_core.config import BackwardConfig
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import GoalError, InputError
from ptp_core.learning.hindsight_chains import HindsightChains, hindsight_loss
from ptp_core.learning.hindsight_cloning import demonstrations_of
from ptp_core.planners.backward_planner import BackwardPlanner
from ptp_core.policies.live_weights import LiveWeights
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.tiny_networks import (
    LATENT,
    SENTENCES,
    tiny_instructed,
    tiny_instructed_checkpoint,
)
from ptp_core.toy_env import ToldToyEnv
from ptp_core.training.checkpoint import load_checkpoint

SAY = SENTENCES[0]


def episode(steps=30, seed=0, instruction=SAY, succeeded=True):
    draws = np.random.default_rng(seed)
    codes = draws.integers(32, size=(steps + 1, LATENT.codes)).astype(np.uint16)
    actions = draws.uniform(0.5, 1.0, (steps, 5)).astype(np.float32)
    return PracticeEpisode(codes, actions, instruction=instruction, succeeded=succeeded)


@pytest.fixture
def checkpoint():
    return tiny_instructed("lbp")


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before, prefix=""):
    return any(
        not torch.equal(value, before[name])
        for name, value in module.state_dict().items()
        if name.startswith(prefix)
    )


def test_without_an_instruction_the_subgoal_predictor_alone_learns_with_both_terms():
    torch.manual_seed(0)
    planner = BackwardPlanner(BackwardConfig(hidden_factor=0.02), LATENT, 4)
    latents, targets = torch.randn(3, LATENT.size), torch.randn(3, 3, LATENT.size)
    loss, metrics = hindsight_loss(planner, latents, targets)
    loss.backward()
    assert all(p.grad is None for p in planner.goal_predictor.parameters())
    assert all(p.grad is not None for p in planner.subgoal_predictor.parameters())
    near, far, goal = planner.scale(targets).unbind(1)
    now = planner.scale(latents)
    first = planner.subgoal(now, goal, None)
    true = planner.subgoal(now, far, None)
    own = planner.subgoal(now, first, None)
    mse = torch.nn.functional.mse_loss
    expected = mse(first, far) + mse(true, near) + mse(own, near)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["hindsight_mse"], expected.detach() / 3)


def test_a_success_teaches_its_instruction_and_a_failure_only_where_it_led(checkpoint):
    planner, policy = checkpoint.part("lbp_planner"), checkpoint.part("lbp_policy")
    learner = HindsightChains(checkpoint, utd_ratio=0.1, learning_rate=3e-3)
    assert learner.due == 0
    learner.add(episode(succeeded=False))
    assert (learner.steps, learner.due) == (30, 3)
    before, acted = state(planner), state(policy)
    metrics = [learner.update() for _ in range(3)][-1]
    assert "hindsight_mse" in metrics and "goal_mse" not in metrics
    assert not changed(planner, before, "goal_predictor")
    assert changed(planner, before, "subgoal_predictor") and changed(policy, acted)
    learner.add(episode(seed=1))
    metrics = {name for _ in range(5) for name in learner.update()}
    assert {"goal_mse", "subgoal_mse", "plan/loss", "loss"} <= metrics
    assert changed(planner, before, "goal_predictor")
    losses = [learner.update()["plan/loss"] for _ in range(80)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_what_is_not_learned_from_still_calls_for_updates(checkpoint):
    learner = HindsightChains(checkpoint, utd_ratio=1.0)
    learner.add(episode(), learn=False)
    assert not learner.online and learner.steps == 30 and learner.due == 0
    with pytest.raises(InputError, match="nothing to learn from"):
        learner.update()


def test_an_instruction_that_nobody_can_read_is_named(checkpoint):
    learner = HindsightChains(checkpoint)
    with pytest.raises(GoalError, match="not among the 3"):
        learner.add(episode(instruction="sing a song"))
    learner.add(episode(instruction="sing a song", succeeded=False))  # it is not asked for
    assert len(learner.online) == 1
    with pytest.raises(InputError, match="not finite"):
        learner.add(PracticeEpisode(episode().codes, np.full((30, 5), np.nan, np.float32)))


def test_batches_are_half_practice_and_half_demonstrations(checkpoint):
    shown = demonstrations_of([episode(seed=s) for s in (5, 6)], checkpoint.encoder_id)
    shown.columns = {"expert_actions": shown.actions}
    shown.metadata = [dataclasses.replace(known, instruction=SAY) for known in shown.metadata]
    learner = HindsightChains(checkpoint, shown)
    learner.add(episode(succeeded=False))
    drawn, draw = [], type(learner._offline).draw

    def note(chains, count, planner, rng):
        drawn.append((chains, count))
        return draw(chains, count, planner, rng)

    type(learner._offline).draw = note
    try:
        learner.update()
    finally:
        type(learner._offline).draw = draw
    (online, first), (offline, second) = drawn
    assert first == second == 4 and offline is learner._offline and online is learner._online


def test_planner_and_policy_travel_together_and_are_taken_by_an_agent(checkpoint):
    other = copy.deepcopy(checkpoint)
    learner = HindsightChains(checkpoint, learning_rate=3e-3)
    learner.add(episode())
    for _ in range(3):
        learner.update()
    live = LiveWeights(other.together(method_named("lbp").practised_parts), other.encoder_id)
    assert live.stage(learner.weights(1)) and live.swap()
    for name in ("lbp_planner", "lbp_policy"):
        for key, value in checkpoint.part(name).state_dict().items():
            assert torch.equal(value, other.part(name).state_dict()[key])


def test_a_run_goes_on_from_what_was_saved(checkpoint, tmp_path):
    other = copy.deepcopy(checkpoint)
    learner = HindsightChains(checkpoint, learning_rate=3e-3)
    learner.add(episode())
    for _ in range(4):
        learner.update()
    learner.save(tmp_path / "state")
    again = HindsightChains(other, learning_rate=3e-3)
    again.add(episode())
    assert again.resume(tmp_path / "state") and again.updates == 4
    assert learner.update() == again.update()


def test_weights_that_are_not_finite_are_taken_back(checkpoint):
    learner = HindsightChains(checkpoint)
    learner.add(episode())
    before = state(checkpoint.part("lbp_policy"))
    with torch.no_grad():
        learner._cloning.policy.first.weight.fill_(float("nan"))
    assert learner.update()["diverged"] == 1.0 and learner.diverged == 1
    assert not changed(checkpoint.part("lbp_policy"), before)
    assert learner.update()["diverged"] == 0.0


def test_practice_in_process_learns_from_told_episodes_and_keeps_no_plans(tmp_path):
    tiny_instructed_checkpoint(tmp_path / "lbp", sentences=tuple(ToldToyEnv.instructions.values()))
    values = {
        **vars(preset("ours", reuse_plans=False, learn_from="all", utd_ratio=0.5)),
        "env": "ptp_core.toy_env:make_told_env",
        "env_kwargs": {"max_steps": 10},
        **{"epochs": 2, "episodes": 2, "evaluation_episodes": 1, "max_steps": 10},
        **{"checkpoint": tmp_path / "lbp", "method": "lbp", "task": "B"},
    }

    def practise(out, cancelled=None):
        practice = InProcessPractice(PracticeConfig(**values), out)
        try:
            result = practice.run(progress=False, cancelled=cancelled)
        finally:
            practice.close()
        return result, practice

    result, practice = practise(tmp_path / "run")
    assert result["updates"] == 2 * 2 * 10 * 0.5
    assert not practice._state.library.plans
    assert not (tmp_path / "run" / "finetuned").exists()
    told = [one.instruction for one in practice._epochs.episodes()]
    assert told == [ToldToyEnv.instructions["B"]] * 4
    made = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert made.agent == "lbp"
    begun = load_checkpoint(tmp_path / "lbp")
    for name in ("lbp_planner", "lbp_policy"):
        assert changed(made.part(name), state(begun.part(name)))
    again, _ = practise(tmp_path / "run")
    assert again == result
