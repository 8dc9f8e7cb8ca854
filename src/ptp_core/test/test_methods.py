# SPDX-License-Identifier: Apache-2.0
"""Methods are what their names say, with any checkpoint's settings, and refuse what is not."""

import dataclasses

import pytest

from ptp_core.agents.ptp import PtpMethod, planner_of
from ptp_core.agents.registry import DEFAULT_METHOD, AgentOptions, build_agent, methods
from ptp_core.config import FollowerConfig, PlannerConfig, TrainConfig, to_dict
from ptp_core.config.train_config import PLANNER_PRESETS, planner_settings
from ptp_core.errors import ConfigError
from ptp_core.tiny_networks import tiny_config, tiny_networks

PTP = {name: method for name, method in methods().items() if isinstance(method, PtpMethod)}
RELEASED = PlannerConfig(
    samples=256,
    levels=1,
    horizons="coarsest",
    subgoals=2,
    iterations=3,
    sigmas=(0.7, 0.3, 0.1),
    return_best="best_so_far",
)
LONG = FollowerConfig(timeout=150)


@pytest.fixture(scope="module")
def checkpoint():
    config = dataclasses.replace(tiny_config(), planner=RELEASED, follower=LONG)
    return tiny_networks(config, diffusion=True)


def resolved(name, checkpoint, **given):
    """Everything that a method's episodes depend on beside the checkpoint."""
    settings = build_agent(name, checkpoint, AgentOptions(**given)).settings
    return {**settings["planner"], "buffer": settings["plan_buffer"], **settings["follower"]}


def difference(one, other):
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def test_ptp_has_three_levels_and_eight_subgoals_of_30_steps_whatever_the_checkpoint(checkpoint):
    ptp = resolved("ptp", checkpoint)
    shape = [ptp[key] for key in ("levels", "subgoals", "subgoal_count", "timeout")]
    assert shape == [3, 8, "total", 30]
    assert (ptp["samples"], ptp["iterations"]) == (256, 3)  # as hard as the checkpoint says
    assert ptp["levels"] > resolved("ptp_no_hierarchy", checkpoint)["levels"]


def test_each_ablation_differs_from_ptp_in_what_its_name_says_and_in_nothing_else(checkpoint):
    ptp = resolved("ptp", checkpoint)
    found = {name: difference(ptp, resolved(name, checkpoint)) for name in PTP}
    assert found["ptp_no_hierarchy"] == {"levels": (3, 1)}
    assert found["ptp_no_buffer"] == {"buffer": (True, False)}
    assert found["ptp_no_buffer_no_hierarchy"] == {"levels": (3, 1), "buffer": (True, False)}


def test_the_single_subgoal_is_what_the_checkpoint_is_made_for_and_the_default(checkpoint):
    single = resolved("ptp_single_subgoal", checkpoint)
    assert single == {**to_dict(RELEASED), "buffer": True, **to_dict(LONG)}
    assert DEFAULT_METHOD == "ptp_single_subgoal"


@pytest.mark.parametrize("preset", PLANNER_PRESETS)
@pytest.mark.parametrize("name", PTP)
def test_a_preset_says_how_hard_to_search_and_leaves_the_method_what_it_is(
    checkpoint, name, preset
):
    given = resolved(name, checkpoint, planner=planner_settings(preset))
    structure = {key: given[key] for key in PTP[name].structure}
    assert structure == PTP[name].structure
    assert given["samples"] == PLANNER_PRESETS[preset]().samples


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ptp", {"levels": 1}, r'method ptp plans with "levels" 3.*say 1: use --method ptp_no_hi'),
        ("ptp", RELEASED, r'"levels" 3.*say 1: use --method ptp_single_subgoal'),
        ("ptp_no_hierarchy", PlannerConfig(), r'"levels" 1.*say 3: use --method ptp$'),
        ("ptp_single_subgoal", PlannerConfig.fast(), r'"levels" 1.*say 3: use --method ptp$'),
        ("ptp_no_buffer", {"subgoals": 4}, r'"subgoals" 8.*say 4: leave "subgoals" out'),
        ("ptp", {"subgoal_count": "top_level"}, r'"subgoal_count" total.*leave'),
    ],
)
def test_settings_that_contradict_the_name_are_refused_with_the_method_that_fits(
    checkpoint, name, given, message
):
    with pytest.raises(ConfigError, match=message) as raised:
        build_agent(name, checkpoint, AgentOptions(planner=given))
    assert "\n" not in str(raised.value)


def test_settings_that_agree_with_the_name_are_taken():
    assert planner_of(PTP["ptp"], RELEASED, PlannerConfig.fast()) == PlannerConfig.fast()
    single = PTP["ptp_single_subgoal"]
    given = planner_of(single, PlannerConfig(), {"subgoals": 2, "samples": 5})
    assert (given.levels, given.subgoals, given.samples) == (1, 2, 5)
    assert planner_of(single, PlannerConfig(), RELEASED) == RELEASED


def test_a_yaml_file_is_explicit_in_what_it_says_and_in_nothing_else(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("planner: {samples: 7, levels: 1}\n")
    assert planner_settings(str(path)) == {"samples": 7, "levels": 1}
    path.write_text("seed: 1\n")
    assert planner_settings(str(path)) == {}
    path.write_text("planner: {samples: 7, level: 1}\n")
    with pytest.raises(ConfigError, match=r'unknown key "planner\.level"'):
        planner_settings(str(path))


def test_every_method_of_the_paper_has_its_timeout():
    stored = TrainConfig(follower=FollowerConfig(timeout=150, sample_actions=False))
    found = {name: method for name, method in methods().items() if method.follows}
    assert found.keys() >= {*PTP, "model_free", "gcbc", "gcp", "leap"}
    timeouts = {name: method.follower(stored).timeout for name, method in found.items()}
    ours = ("ptp_single_subgoal", "ptp_legs")
    assert {timeouts.pop(name) for name in ours} == {150}
    assert set(timeouts.values()) == {30}
    assert not PTP["ptp"].follower(stored).sample_actions
