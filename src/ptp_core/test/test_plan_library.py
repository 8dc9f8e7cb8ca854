# SPDX-License-Identifier: Apache-2.0
"""Plans that worked are done again, there where they worked."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ptp_core.errors import CheckpointError
from ptp_core.planners.plan_library import PlanLibrary, PlanLibraryPlanner, signal_of
from ptp_core.planners.planner import Plan

ENCODER = "e" * 64
START, GOAL = torch.zeros(720), torch.ones(720)


class Numbered:
    """A planner whose plans carry their number."""

    def __init__(self):
        self.made = 0

    def plan(self, start, goal, generator, **options):
        self.made += 1
        codes = torch.full((2, 144), self.made)
        return Plan(codes, torch.full((2, 720), float(self.made)), 1.0 / self.made, {}, 0.5)


def reusing(library=None, explore=True):
    return PlanLibraryPlanner(Numbered(), library or PlanLibrary(ENCODER), explore)


def practise(planner, works, episodes, start=START, goal=GOAL):
    """Numbers of the plans that were tried; ``works`` gives each plan's success rate."""
    rng, tried = np.random.default_rng(0), []
    for seed in range(episodes):
        plan = planner.plan(start, goal, torch.Generator().manual_seed(seed))
        tried.append(int(plan.codes[0, 0]))
        planner.judge(bool(rng.random() < works(tried[-1])))
    return tried


def test_the_plan_that_works_prevails():
    tried = practise(reusing(), lambda number: 1.0 if number == 2 else 0.2, 100)
    assert tried[0] == 1
    assert np.mean(np.array(tried[50:]) == 2) > 0.8


def test_where_nothing_works_it_keeps_planning_anew():
    planner = reusing()
    practise(planner, lambda number: 0.0, 40)
    assert len(planner.library.plans) > 10


def test_without_exploring_the_best_record_is_taken():
    library = PlanLibrary(ENCODER)
    practise(reusing(library), lambda number: 1.0 if number == 2 else 0.2, 60)
    tried = practise(reusing(library, explore=False), lambda number: 1.0, 5)
    assert tried == [2] * 5


def test_a_reused_plan_comes_back_whole():
    library = PlanLibrary(ENCODER)
    planner = reusing(library, explore=False)
    first = planner.plan(START, GOAL, torch.Generator())
    planner.judge(True)
    library.plans[0].successes = library.plans[0].trials = 10
    again = planner.plan(START, GOAL, torch.Generator())
    assert (again.codes == first.codes).all() and (again.latents == first.latents).all()
    assert (again.cost, again.seconds) == (first.cost, 0.0)
    assert again.codes.dtype == first.codes.dtype and again.latents.dtype == torch.float32


@pytest.mark.parametrize("which", ["start", "goal"])
def test_plans_of_another_scene_are_left_alone(which):
    library = PlanLibrary(ENCODER, near=1.0)
    practise(reusing(library), lambda number: float(number == 2), 20)
    ends = {"start": START, "goal": GOAL}
    rng = np.random.default_rng(0)
    assert library.choose(*ends.values(), rng, explore=False) is not None
    ends[which] = ends[which] + 0.1  # 2.7 apart
    assert library.choose(*ends.values(), rng, explore=False) is None


def test_a_plan_that_was_never_tried_counts_for_nothing():
    library = PlanLibrary(ENCODER)
    planner = reusing(library)
    planner.plan(START, GOAL, torch.Generator())
    assert library.choose(START, GOAL, np.random.default_rng(0), explore=True) is None


def test_records_survive_the_process(tmp_path):
    path = tmp_path / "plans.safetensors"
    practise(reusing(PlanLibrary(ENCODER, path)), lambda number: number / 4, 30)
    first, second = PlanLibrary(ENCODER, path), PlanLibrary(ENCODER, path)
    assert sum(plan.trials for plan in first.plans) == 30
    rngs = [np.random.default_rng(1) for _ in range(2)]
    chosen = [a.choose(START, GOAL, rng, True) for a, rng in zip((first, second), rngs)]
    assert (chosen[0] is None) == (chosen[1] is None)
    assert [p.successes for p in first.plans] == [p.successes for p in second.plans]


def test_a_library_keeps_to_the_signal_that_judges_it(tmp_path):
    path = tmp_path / "plans.safetensors"
    practise(reusing(PlanLibrary(ENCODER, path, signal="latent")), lambda number: 1.0, 2)
    assert signal_of(path) == "latent"
    assert PlanLibrary(ENCODER, path).signal == "latent"
    with pytest.raises(CheckpointError, match="success signal latent, not by simulator"):
        PlanLibrary(ENCODER, path, signal="simulator")
    save_file(load_file(path), path, metadata={"encoder_id": ENCODER})  # of an earlier release
    assert signal_of(path) == "simulator"
    PlanLibrary(ENCODER, path, signal="simulator")
    with pytest.raises(CheckpointError, match="success signal simulator, not by latent"):
        PlanLibrary(ENCODER, path, signal="latent")


def test_a_file_that_does_not_fit_is_one_clear_error(tmp_path):
    path = tmp_path / "plans.safetensors"
    practise(reusing(PlanLibrary(ENCODER, path)), lambda number: 1.0, 2)
    with pytest.raises(CheckpointError, match="plans of another encoder"):
        PlanLibrary("f" * 64, path)
    tensors = load_file(path)
    another = {"encoder_id": "f" * 64, "note": f"made after those of {ENCODER}"}
    save_file(tensors, path, metadata=another)
    with pytest.raises(CheckpointError, match="plans of another encoder"):
        PlanLibrary(ENCODER, path)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="no plan library"):
        PlanLibrary(ENCODER, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="no plan library"):
        PlanLibrary(ENCODER, path)
