# SPDX-License-Identifier: Apache-2.0
"""The released checkpoint decides as it did when test/golden/released.npz was recorded.

Recorded observations go through encoder, planner, follower and policy, so neither simulator nor
contact plays a part. Codes must be equal. Actions and costs have a tolerance, since processors
add up in different orders: a change of every weight by a millionth moved actions by 2e-5 and costs
by 2e-4 of their size, and the recorder keeps no episode whose plan such a change turns into
another. Plans of three levels choose 14 times in a row; such a change turned 4 of 9 into others,
with up to 10 in 100 codes and 0.8 % of the cost. Where arithmetic is not the recorder's, only
their cost is looked at.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ptp_bringup.share_folder import released_checkpoint
from ptp_core.training.checkpoint import load_checkpoint

ACTION_TOLERANCE = 1e-4  # of actions in [-1, 1]
COST_TOLERANCE = 1e-3  # of the cost
OTHER_PLAN = 0.03  # of the cost of three levels, where rounding leads to another plan

_spec = importlib.util.spec_from_file_location(
    "golden_record", Path(__file__).with_name("golden") / "record.py"
)
record = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = record  # dataclasses look for their module
_spec.loader.exec_module(record)


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(released_checkpoint())


@pytest.fixture(scope="module")
def recorded():
    with np.load(record.FILE) as file:
        return dict(file)


def observations(recorded, name):
    return record.Shown(record.unpack(recorded[f"{name}_images"]), recorded[f"{name}_goal"])


@pytest.mark.parametrize("episode", range(record.EPISODES))
@pytest.mark.parametrize("task", record.TASKS)
def test_plans_and_actions_are_those_recorded(checkpoint, recorded, task, episode):
    name = f"{task}{episode}"
    env, seed = observations(recorded, name), int(recorded[f"{name}_seed"])
    found = record.decide(checkpoint, env, seed, task, record.STEPS + record.HELD)
    assert np.array_equal(found.codes, recorded[f"{name}_codes"])
    assert np.array_equal(found.plan_codes, recorded[f"{name}_plan_codes"])
    cost = float(recorded[f"{name}_plan_cost"])
    assert found.plan_cost == pytest.approx(cost, rel=COST_TOLERANCE)
    assert np.array_equal(found.pursued, recorded[f"{name}_pursued"])
    actions = recorded[f"{name}_actions"]
    assert actions.shape == (record.STEPS + record.HELD, 5)
    assert np.abs(found.actions - actions).max() < ACTION_TOLERANCE


@pytest.mark.parametrize("task", record.TASKS)
def test_plans_of_three_levels_are_those_recorded(checkpoint, recorded, task):
    env, seed = observations(recorded, f"{task}0"), int(recorded[f"{task}0_seed"])
    found = record.decide(checkpoint, env, seed, task, 1, record.three_levels(checkpoint))
    codes = recorded[f"{task}_three_levels_codes"]
    cost = float(recorded[f"{task}_three_levels_cost"])
    assert found.plan_codes.shape == codes.shape == (8, 144)
    assert found.plan_cost == pytest.approx(cost, rel=OTHER_PLAN)
    if record.arithmetic() == str(recorded["arithmetic"]):
        assert np.array_equal(found.plan_codes, codes)
        assert found.plan_cost == pytest.approx(cost, rel=COST_TOLERANCE)
