# SPDX-License-Identifier: Apache-2.0
"""What data cover is counted near each scene, carried by a checkpoint, and warned of."""

import json
from typing import ClassVar

import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.coverage import (
    COVERAGE,
    GroupCells,
    SceneCoverage,
    coverage_lines,
    read_cells,
    scene_groups,
    warning_line,
)
from ptp_core.data.dataset import Dataset
from ptp_core.errors import DatasetError, InputError
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.toy_env import ToyEnv

WIDTHS = {"x": 0.1, "y": 0.2}


class SceneToy(ToyEnv):
    """The toy with the numbers of its scenes; demonstrations have the block anywhere."""

    protocols = ("varied", "far")
    scene_groups: ClassVar = {"block": {"block_x": 10.0, "block_y": 10.0}, "size": {"size": 1.0}}

    def reset(self, *, seed=None, options=None):
        options = {**(options or {}), "protocol": "varied"}
        image, info = super().reset(seed=seed, options=options)
        return image, {
            **info,
            "scene": dict(zip(("block_x", "block_y"), self._block, strict=True)),
        }

    def sample_scene(self, task, protocol, seed):
        """The block 12 pixels from the corner, or outside of the table."""
        x, y = np.random.default_rng(seed).uniform(-4.0, 4.0, 2)
        place = 12.0 if protocol == "varied" else 90.0
        return {"block_x": place + x, "block_y": 12.0 + y}


DATA = DataConfig(env=f"{__name__}:SceneToy", trajectories=150, steps=3, num_envs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coverage") / "data"
    return folder, collect(DATA, folder, progress=False)


def at(x, y):
    return {"x": x, "y": y, "other": 0.0}


@pytest.mark.parametrize(
    ("demonstrations", "covered"),
    [
        ([at(1.0, 2.0)] * 5, True),
        ([at(1.0, 2.0)] * 4, False),
        ([at(1.07, 2.12)] * 5, True),
        ([at(1.0, 2.0)] * 4 + [at(1.2, 2.0)], False),  # x is too far
        ([at(1.0, 2.0)] * 4 + [at(1.0, 2.5)], False),  # so is y
        ([at(1.2, 2.0)] * 5 + [at(1.0, 2.5)] * 5, False),  # never both at the same time
        ([{"x": 1.0}] * 5, False),
    ],
)
def test_five_demonstrations_must_be_near_in_all_numbers_at_once(demonstrations, covered):
    assert GroupCells.of_scenes(WIDTHS, demonstrations).covers(at(1.0, 2.0)) is covered


def test_a_group_applies_to_scenes_that_have_its_numbers():
    cells = GroupCells.of_scenes({"size": 0.1}, [at(0.0, 0.0)] * 9)
    assert cells.covers(at(0.0, 0.0))
    assert not cells.covers({**at(0.0, 0.0), "size": 1.15})


def test_what_a_checkpoint_carries_covers_the_same_and_is_small():
    rng = np.random.default_rng(0)
    drawn = [dict(zip("xyz", values, strict=True)) for values in rng.uniform(-1, 1, (3000, 3))]
    groups = {"place": dict.fromkeys("xyz", 0.2), "height": {"z": 0.02}}
    coverage = SceneCoverage.of_scenes(groups, drawn)
    text = json.dumps(coverage.as_dict())
    assert len(text) < 15_000
    again = SceneCoverage.from_dict(json.loads(text))
    asked = [dict(zip("xyz", values, strict=True)) for values in rng.uniform(-1.5, 1.5, (200, 3))]
    assert again.shares(asked) == coverage.shares(asked)
    assert 0.3 < coverage.shares(asked)["groups"]["place"] < 0.6
    with pytest.raises(DatasetError, match="damaged"):
        SceneCoverage.from_dict({"place": {"tolerances": {"x": 0.1}, "cells": {"": "x:1"}}})


def test_collection_ends_with_what_the_data_cover(data):
    folder, counts = data
    report = counts["coverage"]
    assert json.loads((folder / COVERAGE).read_text()) == report
    assert report["demonstrations"] == len(Dataset(folder).scenes()) == 150
    assert set(report["drawn"]) == {"varied", "far"}
    assert report["drawn"]["varied"]["A"] == {
        "scenes": 40,
        "all": 1.0,
        "groups": {"block": 1.0, "size": 1.0},
    }
    assert report["drawn"]["far"]["B"]["groups"] == {"block": 0.0, "size": 1.0}
    lines = coverage_lines(report["drawn"])
    assert lines[0] == "varied A: 100% of 40 scenes covered"
    assert lines[-1] == "far C: 0% of 40 scenes covered; block 0%"


def test_nothing_is_claimed_without_groups_or_scenes(tmp_path):
    toy = DataConfig(env="ptp_core.toy_env:make_env", trajectories=2, steps=3, num_envs=1)
    counts = collect(toy, tmp_path / "data", progress=False)
    assert counts["coverage"] is None
    assert not (tmp_path / "data" / COVERAGE).exists() and read_cells(tmp_path / "data") is None
    tiny_checkpoint(tmp_path / "tiny")
    assert evaluated(tmp_path / "tiny", "varied")["coverage"] is None


def evaluated(checkpoint, protocol):
    config = EvaluationConfig(
        checkpoint=checkpoint,
        env=f"{__name__}:SceneToy",
        method="model_free",
        tasks=("A",),
        protocol=protocol,
        episodes=2,
        max_steps=2,
    )
    return evaluate(config, num_envs=0, progress=False)


def test_an_evaluation_tells_the_share_of_its_scenes_outside_of_the_data(data, tmp_path):
    tiny_checkpoint(tmp_path / "tiny")
    path = tmp_path / "tiny" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metrics"]["coverage"] = read_cells(data[0])
    path.write_text(json.dumps(manifest))
    inside, outside = (
        evaluated(tmp_path / "tiny", name)["coverage"] for name in SceneToy.protocols
    )
    assert inside["A"]["all"] == 1.0 and warning_line("A", "varied", inside["A"]) is None
    assert outside["A"] == {"scenes": 2, "all": 0.0, "groups": {"block": 0.0, "size": 1.0}}
    assert warning_line("A", "far", outside["A"]) == (
        "warning: task A, far: 100% of 2 scenes are outside of what the demonstrations cover "
        "(block 100%)"
    )


@pytest.mark.parametrize("groups", [{"block": {}}, {"block": {"x": 0.0}}, {"block": 3}])
def test_groups_that_cannot_be_meant_are_named(groups):
    env = SceneToy()
    env.scene_groups = groups
    with pytest.raises(InputError, match=r"it: scene_groups is .*; it must be \{group"):
        scene_groups(env, "it")


def test_a_damaged_report_is_named_with_the_cure(tmp_path):
    (tmp_path / COVERAGE).write_text("{")
    with pytest.raises(DatasetError, match="repeat ptp collect"):
        read_cells(tmp_path)
