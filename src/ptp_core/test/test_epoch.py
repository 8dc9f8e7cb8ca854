# SPDX-License-Identifier: Apache-2.0
"""One epoch by hand: who acts and learns when, what is kept, and what an evaluation leaves."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from ptp_core.agents.registry import AgentOptions, build_agent, method_named
from ptp_core.errors import PlanCancelled
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.epoch import PracticeState, practise_epoch, rollout, sample_tasks
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.rollout.episode_results import APART, episode_seeds
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config
from ptp_core.toy_env import ToyEnv
from ptp_core.training.checkpoint import load_checkpoint

EPISODES, EVALUATIONS, STEPS = 3, 2, 6


@pytest.fixture
def folder(tmp_path):
    tiny_checkpoint(tmp_path / "tiny", config=tiny_config(batch_size=8))
    return tmp_path / "tiny"


def settings(folder, **changes):
    values = {"env": "ptp_core.toy_env:make_env", "task": "A", "protocol": "varied", "seed": 3}
    values |= {"checkpoint": folder, "method": "ptp", "episodes": EPISODES, "max_steps": STEPS}
    values |= {"evaluate_every": 2, "evaluation_episodes": EVALUATIONS}
    return PracticeConfig(**{**dataclasses.asdict(preset("paper")), **values, **changes})


class Practice:
    """State and learner of a run; its rollouts act in this process, with networks of their own."""

    def __init__(self, config):
        self.config = config
        checkpoint = load_checkpoint(config.checkpoint)
        method = method_named(config.method)
        self.learner = method.learner(
            checkpoint,
            successes_only=config.learn_from == "successes",
            utd_ratio=config.utd_ratio,
        )
        library = PlanLibrary(checkpoint.encoder_id)
        agent = build_agent(config.method, checkpoint)
        self.state = PracticeState.of(checkpoint, method, [agent], library)
        self.updates_seen = []  # by each rollout that began or ended
        self._checkpoint = load_checkpoint(config.checkpoint)
        self._library = PlanLibrary(checkpoint.encoder_id)
        reused = self._library if config.reuse_plans else None
        options = AgentOptions(library=reused, explore=True)
        self._actor = build_agent(config.method, self._checkpoint, options)
        self._env = ToyEnv(max_steps=config.max_steps)

    def rollouts(self, counted=None, order=list):
        """Rollouts that end in this order; ``counted(index)``: by the success signal."""

        def begin(requests):
            self._actor.learned.load_state_dict(self.state.learned.state_dict())
            self._library.plans[:] = map(dataclasses.replace, self.state.library.plans)
            self.updates_seen.append(self.learner.updates)
            return ended(order(requests))

        def ended(requests):
            for request in requests:
                self.updates_seen.append(self.learner.updates)
                result = rollout(self.config, self._env, self._actor, request, self._checkpoint)
                if counted is not None and not request.evaluate:
                    result = dataclasses.replace(result, counted=counted(request.index))
                yield result

        return begin

    def epoch(self, number, cancelled=None, **options):
        return practise_epoch(
            self.config,
            number,
            self.state,
            self.learner,
            self.rollouts(**options),
            sharing=lambda: nullcontext(map),
            cancelled=cancelled,
        )


def test_an_epoch_has_its_own_scenes_and_every_evaluation_the_same(folder):
    config = settings(folder)
    first, second, third = (sample_tasks(config, number) for number in range(3))
    indices = [[(one.index, one.evaluate) for one in epoch] for epoch in (first, second, third)]
    practised = [[(EPISODES * n + i, False) for i in range(EPISODES)] for n in range(3)]
    evaluated = [(i, True) for i in range(EVALUATIONS)]
    assert indices == [practised[0] + evaluated, practised[1], practised[2] + evaluated]
    assert first[EPISODES:] == third[EPISODES:]
    assert first[1].seeds == episode_seeds(3, "A", 1)
    assert first[EPISODES].seeds == episode_seeds(3 + APART, "A", 0)
    everything = {one.seeds for one in [*first, *second, *third]}
    assert len(everything) == 3 * EPISODES + EVALUATIONS


def test_rollouts_begin_before_the_updates_and_are_stored_after_them(folder):
    practice = Practice(settings(folder, utd_ratio=0.5))
    result = practice.epoch(0)
    assert practice.updates_seen == [0] * (1 + EPISODES + EVALUATIONS)  # nothing was due yet
    due = EPISODES * STEPS // 2
    assert practice.learner.due == due
    assert (result.metrics["updates"], result.metrics["losses"]) == (0, {})
    before = {name: value.clone() for name, value in practice.state.learned.state_dict().items()}
    practice.updates_seen.clear()
    result = practice.epoch(1)
    assert practice.updates_seen == [0] + [due] * EPISODES
    assert (result.metrics["updates"], practice.learner.due) == (due, due)
    assert "value/loss" in result.metrics["losses"]
    after = practice.state.learned.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_evaluation_leaves_nothing_but_its_figures(folder):
    practice = Practice(settings(folder))
    result = practice.epoch(0)
    assert len(result.episodes) == EPISODES
    assert all(episode.codes.shape == (STEPS + 1, 144) for episode in result.episodes)
    assert practice.learner.steps == len(practice.learner.online) == EPISODES * STEPS
    assert [plan.trials for plan in practice.state.library.plans] == [1] * EPISODES
    (buffers,) = practice.state.buffers
    assert [len(buffer) for buffer in buffers] == [EPISODES, 2 * EPISODES, 4 * EPISODES]
    assert result.metrics["evaluation"] == {"epoch": 0, "episodes": EVALUATIONS, "successes": 0}
    assert "evaluation" not in practice.epoch(1).metrics


@pytest.mark.parametrize(("learn_from", "flags"), [("all", [True] * 3), ("successes", [1, 0, 1])])
def test_the_success_signal_decides_what_is_learned_from(folder, learn_from, flags):
    practice = Practice(settings(folder, learn_from=learn_from))
    result = practice.epoch(0, counted=lambda index: index % 2 == 0)
    metrics = result.metrics
    assert metrics["learned_from"] == flags
    # The environment's verdict is what success rates report.
    assert (metrics["counted_as_success"], metrics["practice_success_rate"]) == (2, 0.0)
    assert [plan.successes for plan in practice.state.library.plans] == [1, 0, 1]
    assert practice.learner.steps == EPISODES * STEPS  # every step calls for updates
    learned = sum(flags) * STEPS
    assert 0 < len(practice.learner.online) <= learned  # without idle steps, where it imitates
    assert (len(practice.learner.online) == learned) or learn_from == "successes"


def test_a_plan_that_is_reused_adds_to_its_record(folder):
    practice = Practice(settings(folder, reuse_plans=True))
    practice.epoch(0, counted=lambda index: True)
    practice.epoch(1, counted=lambda index: True)
    plans = practice.state.library.plans
    assert sum(plan.trials for plan in plans) == 2 * EPISODES > len(plans)


def test_the_order_in_which_rollouts_end_changes_nothing(folder):
    one, other = Practice(settings(folder)), Practice(settings(folder))
    for number in range(2):
        first = one.epoch(number)
        second = other.epoch(number, order=reversed)
    for episode, same in zip(first.episodes, second.episodes, strict=True):
        assert np.array_equal(episode.codes, same.codes)
        assert np.array_equal(episode.actions, same.actions)
    assert first.metrics["losses"] == second.metrics["losses"]
    theirs = other.state.learned.state_dict()
    for name, value in one.state.learned.state_dict().items():
        assert torch.equal(value, theirs[name])
    for plan, same in zip(one.state.library.plans, other.state.library.plans, strict=True):
        assert np.array_equal(plan.codes, same.codes)


def test_a_cancelled_epoch_stores_nothing(folder):
    practice = Practice(settings(folder))
    practice.epoch(0)
    plans, steps = len(practice.state.library.plans), practice.learner.steps
    with pytest.raises(PlanCancelled):
        practice.epoch(1, cancelled=lambda: True)
    assert (len(practice.state.library.plans), practice.learner.steps) == (plans, steps)
