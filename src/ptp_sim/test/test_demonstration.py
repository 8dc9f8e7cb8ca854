# SPDX-License-Identifier: Apache-2.0
"""Scripted demonstrations: what they say of themselves, chains, and data as before."""

import dataclasses
import hashlib

import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.data.trajectory import cartesian_channels
from ptp_sim.demonstration import PAUSE
from ptp_sim.env import make_env
from ptp_sim.instructions import paraphrases
from ptp_sim.layouts import block_place
from ptp_sim.primitives import KINDS, possible
from ptp_sim.scene import DRAWER_TRAVEL
from ptp_sim.world import PROPRIOCEPTION

TABLE = DataConfig(env="ptp_sim.env:make_env", trajectories=6, steps=25, num_envs=1, seed=3)


@pytest.fixture(scope="module")
def env():
    env = make_env()
    yield env
    env.close()


@pytest.fixture(scope="module")
def singles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("singles")
    collect(TABLE, folder, progress=False)
    return Dataset(folder).load()


def test_single_primitives_have_the_images_and_actions_that_they_always_had(singles):
    # Recorded before targets, instructions and chains existed: none of them draws from the scene.
    def digest(values):
        return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()

    assert digest(singles.actions).startswith("e14a1e0601e05ae7ed7a036538ae2792")
    assert digest(singles.camera()).startswith("7ed2602876997ef89334a30183de1e3b")


def test_a_demonstration_records_its_target_and_a_sentence_for_it(singles):
    for known in singles.metadata:
        assert known.instruction in paraphrases(known.primitive, known.target.place)
        (segment,) = known.segments
        assert segment.target == known.target and segment.success == known.success
        assert known.target.unit == "m"
        if known.primitive == "slide":
            assert known.target.kind == "can_xy" and len(known.target.values) == 2
            assert known.target.place.split()[0] in ("near", "far")
        elif known.primitive == "close":
            assert (known.target.values, known.target.place) == ((0.0,), "closed")
    assert {known.primitive for known in singles.metadata} == {"slide", "close"}


def test_proprioception_is_the_tool_and_the_gripper_in_si_units(env, singles):
    assert singles.proprioception_channels == PROPRIOCEPTION
    assert singles.action_channels == cartesian_channels(0.05, np.deg2rad(5.0))
    assert singles.proprioception.shape == (150, len(PROPRIOCEPTION))
    _, info = env.reset(seed=singles.metadata[0].extra["seed"], options={"task": "demonstration"})
    for _ in range(3):
        felt, state = info["proprioception"], info["state"]
        assert felt.dtype == np.float32
        np.testing.assert_allclose(felt[:3], state["tcp"], rtol=1e-6)
        np.testing.assert_allclose(felt[3:], [state["tcp_yaw"], state["gripper_opening"]])
        _, _, _, _, info = env.step(info["expert_action"])
    first = singles.proprioception[0]
    env.reset(seed=singles.metadata[0].extra["seed"], options={"task": "demonstration"})
    assert np.array_equal(first, env.world.state().proprioception())


@pytest.mark.parametrize("task", ["A", "B", "C"])
def test_target_tasks_tell_their_plan_and_what_the_arm_feels(env, task):
    _, info = env.reset(seed=4, options={"task": task})
    words = {
        "A": ("slide", "far right", "open", "open"),
        "B": ("close", "closed", "slide", "far left"),
        "C": ("block_tray", "tray", "close", "closed"),
    }[task]
    first, second = info["instruction"].split(", then ")
    assert first in paraphrases(*words[:2]) and second in paraphrases(*words[2:])
    assert info["proprioception"].shape == (5,)
    _, again = env.reset(seed=4, options={"task": task})
    assert again["instruction"] == info["instruction"]
    said = {env.reset(seed=s, options={"task": task})[1]["instruction"] for s in range(8)}
    assert len(said) > 2


def run_chain(env, seed, length, **options):
    """States in which each primitive began, with what `info` said; and the last info."""
    options = {"task": "demonstration", "chain": length, **options}
    _, info = env.reset(seed=seed, options=options)
    begun, ended = [(env.world.state(), info)], []
    for _ in range(600):
        before = info
        _, _, _, truncated, info = env.step(info["expert_action"])
        assert not truncated
        if info["segment"] != before["segment"]:
            begun.append((env.world.state(), info))
            ended.append(before)
        if info["chain_done"]:
            return begun, [*ended, info]
    raise AssertionError(f"seed {seed}: the chain did not end")


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_each_primitive_of_a_chain_is_possible_where_the_one_before_ended(env, seed):
    begun, ended = run_chain(env, seed, 4)
    assert [info["segment"] for _, info in begun] == [0, 1, 2, 3]
    assert all(info["success"] and info["expert_done"] for info in ended)
    rng = np.random.default_rng(0)
    for state, info in begun:
        assert info["primitive"] in possible(state.scene(), rng, filled_drawer=True)
        assert not info["success"]
    kinds = [
        next(kind for kind, names in KINDS.items() if info["primitive"] in names)
        for _, info in begun
    ]
    assert len(set(kinds)) > 1


def test_a_chain_goes_on_between_the_fewest_and_the_most_steps_after_the_work(env):
    _, info = env.reset(seed=5, options={"task": "demonstration", "chain": 3})
    pauses, after = [], 0
    while not info["chain_done"]:
        number = info["segment"]
        after += info["expert_done"]
        _, _, _, _, info = env.step(info["expert_action"])
        if info["segment"] != number or info["chain_done"]:
            pauses.append(after)
            after = 0
    assert len(pauses) == 3
    assert all(PAUSE[0] <= pause <= PAUSE[1] for pause in pauses)


def test_a_chain_of_one_is_the_single_primitive_and_then_ends(env):
    _, single = env.reset(seed=9, options={"task": "demonstration"})
    actions = []
    for _ in range(75):
        actions.append(single["expert_action"])
        _, _, _, _, single = env.step(actions[-1])
    _, info = env.reset(seed=9, options={"task": "demonstration", "chain": 1})
    steps = 0
    while not info["chain_done"]:
        assert np.array_equal(info["expert_action"][:3], actions[steps][:3])
        _, _, _, _, info = env.step(info["expert_action"])
        steps += 1
    assert info["success"]


def test_the_drawer_moves_with_the_block_in_it_and_a_closed_one_keeps_it(env):
    rng = np.random.default_rng(0)
    for seed in range(20):
        begun, _ = run_chain(env, seed, 2, primitive="block_drawer")
        if begun[1][1]["primitive"] == "close":
            break
    scene = env.world.state().scene()
    assert block_place(scene) == "drawer" and scene.drawer_opening < DRAWER_TRAVEL / 2
    choices = possible(scene, rng, filled_drawer=True)
    assert "open" in choices and not any(name.startswith("block") for name in choices)
    assert "open" not in possible(scene, rng)  # single primitives: as the authors have it


def test_collected_chains_are_the_same_with_any_number_of_workers(tmp_path):
    config = dataclasses.replace(TABLE, trajectories=3, steps=75, seed=1, chain=(2, 2))
    collect(config, tmp_path / "one", progress=False)
    collect(config, tmp_path / "two", progress=False, limit=1)
    collect(dataclasses.replace(config, num_envs=2), tmp_path / "two", progress=False)
    one, two = (Dataset(tmp_path / name) for name in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    assert [len(t.metadata.segments) for t in one] == [2, 2, 2]


def test_a_goal_that_is_not_reached_ends_the_chain(env):
    begun, ended = run_chain(env, 1, 4)
    assert [info["success"] for info in ended] == [True] * (len(ended) - 1) + [False]
    assert ended[-1]["expert_done"] and len(begun) < 4


def test_a_chain_has_one_primitive_or_more(env):
    with pytest.raises(ValueError, match="a chain of 0 primitives"):
        env.reset(options={"task": "demonstration", "chain": 0})
