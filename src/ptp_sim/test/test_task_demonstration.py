# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of whole tasks in the environment, and the data that are collected of them."""

import dataclasses

import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.errors import InputError
from ptp_sim.demonstration import PAUSE
from ptp_sim.long_env import make_env
from ptp_sim.long_tasks import LAST_PAUSE, LONG_TASKS

CONFIG = DataConfig(
    env="ptp_sim.long_env:make_env",
    tasks=("long_1", "long_4"),
    keep_failures=False,
    protocol="varied",
    trajectories=3,
    steps=150,
    noise_std=0.1,
    seed=5,
    num_envs=1,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    counts = collect(CONFIG, folder, progress=False)
    return Dataset(folder), counts


def test_a_demonstration_stays_for_a_while_after_each_stage():
    env = make_env()
    options = {"task": "demonstration", "demonstrated_task": "long_2"}
    _, info = env.reset(seed=3, options=options)
    pauses, after = [], 0
    while not info["chain_done"]:
        number = info["segment"]
        after += info["expert_done"]
        _, _, _, truncated, info = env.step(info["expert_action"])
        assert not truncated
        if info["segment"] != number or info["chain_done"]:
            pauses.append(after)
            after = 0
    assert info["task_success"] and info["task_instruction"] == LONG_TASKS["long_2"].instruction
    assert PAUSE[0] <= pauses[0] <= PAUSE[1] and PAUSE[0] <= pauses[1] <= LAST_PAUSE
    env.close()


def test_each_trajectory_has_the_sentence_of_its_task_and_its_stages(data):
    dataset, counts = data
    lengths = set()
    for trajectory in dataset:
        known = trajectory.metadata
        name = CONFIG.tasks[trajectory.index % 2]
        task = LONG_TASKS[name]
        assert known.instruction == task.instruction and known.extra["task"] == name
        assert known.success and known.protocol == "varied" and known.scene
        assert [s.primitive for s in known.segments] == [s.meaning[0] for s in task.stages]
        assert all(segment.done is not None for segment in known.segments)
        assert known.segments[-1].stop == len(trajectory.actions)
        assert trajectory.expert_actions.shape == trajectory.actions.shape
        assert trajectory.proprioception.shape == (len(trajectory.actions), 5)
        said = [known.instruction, *(segment.instruction for segment in known.segments)]
        assert not any(text in task.paraphrases for text in said)
        lengths.add(len(trajectory.actions))
    assert len(lengths) > 1
    assert {name: figures["shown"] for name, figures in counts["tasks"].items()} == {
        "long_1": 2,
        "long_4": 1,
    }
    assert all(trajectory.metadata.extra["attempts"] == 1 for trajectory in dataset)


def test_the_same_seed_gives_the_same_data_with_any_number_of_workers(data, tmp_path):
    collect(dataclasses.replace(CONFIG, num_envs=2), tmp_path / "two", progress=False)
    assert Dataset(tmp_path / "two").fingerprint() == data[0].fingerprint()


def test_what_cannot_be_demonstrated_is_named(tmp_path):
    for tasks, message in (
        (("long_1", "long_11"), 'has no task "long_11" to demonstrate; it has long_1, long_2'),
        (("A",), 'has no task "A"'),
    ):
        with pytest.raises(InputError, match=message):
            collect(dataclasses.replace(CONFIG, tasks=tasks), tmp_path / "no", progress=False)
    short = dataclasses.replace(CONFIG, env="ptp_sim.env:make_env", tasks=("A",))
    with pytest.raises(InputError, match="unknown task 'A': use one of long_1"):
        collect(short, tmp_path / "no", progress=False)


def test_a_demonstration_of_a_task_draws_the_scenes_of_its_episodes():
    env = make_env()
    _, shown = env.reset(seed=8, options={"task": "demonstration", "demonstrated_task": "long_9"})
    drawn = env.sample_scene("long_9", "varied", seed=8)
    assert shown["scene"].keys() == drawn.keys()
    assert np.allclose([shown["scene"][key] for key in drawn], list(drawn.values()), atol=0.012)
    env.close()
