# SPDX-License-Identifier: Apache-2.0
"""From a method's name to its planner: each has its own, on the same policy and encoder."""

import pytest
import torch
from ptp_core.agents.ptp import make_planner
from ptp_core.practice.methods import METHODS
from ptp_core.practice.search import make_search

from ptp_core.config import PlannerConfig
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.planners.gcp import GcpPlanner
from ptp_core.planners.hierarchy import HierarchicalPlanner
from ptp_core.planners.leap import LeapPlanner
from ptp_core.testing import (
    ENCODER,
    rng,
    tiny_baselines,
    tiny_baselines_config,
    tiny_networks,
)


@pytest.fixture(scope="module")
def checkpoint():
    return tiny_networks()


@pytest.fixture
def baselines(tmp_path):
    tiny_baselines(tmp_path / "baselines", ENCODER)
    return tmp_path / "baselines"


@pytest.fixture
def pair(checkpoint):
    return checkpoint.vqvae.lookup(torch.randint(32, (2, 144), generator=rng(2)))


def test_every_method_plans_with_its_own_planner_or_not_at_all(checkpoint, baselines, pair):
    made = {name: make_search(name, checkpoint, baselines=baselines) for name in METHODS}
    kinds = {name: type(search.planner) for name, search in made.items()}
    assert {kinds.pop("model_free"), kinds.pop("gcbc")} == {type(None)}
    assert (kinds.pop("leap"), kinds.pop("gcp")) == (LeapPlanner, GcpPlanner)
    assert set(kinds.values()) == {HierarchicalPlanner} and len(kinds) == 5
    lengths = {"ptp": 8, "ptp_single_subgoal": 2, "ptp_no_hierarchy": 8, "leap": 3, "gcp": 4}
    for name, length in lengths.items():
        plan = made[name].planner.plan(*pair, rng(), remember=True)
        assert plan.codes.shape == (length, 144)
        assert torch.equal(plan.latents[-1], pair[1])
    levels = {name: len(search.buffers) for name, search in made.items() if search.buffers}
    assert levels == {
        "ptp": 3,
        "ptp_single_subgoal": 1,
        "ptp_no_buffer": 3,
        "ptp_no_hierarchy": 1,
        "ptp_no_buffer_no_hierarchy": 1,
    }


def test_baselines_judge_with_the_checkpoints_value(checkpoint, baselines, pair):
    """What practice learns of V takes effect in their next plans."""
    learner = tiny_networks()
    searches = [make_search(name, learner, baselines=baselines) for name in ("leap", "gcp")]
    planners = [search.planner for search in searches]
    before = [planner.plan(*pair, rng()).costs["value"] for planner in planners]
    with torch.no_grad():
        for parameter in learner.iql.v.parameters():
            parameter.mul_(2.0)
    after = [planner.plan(*pair, rng()).costs["value"] for planner in planners]
    assert all(one != other for one, other in zip(before, after))


def test_settings_name_what_plans_depend_on(checkpoint, baselines):
    config = tiny_baselines_config()
    leap, gcp = (make_search(name, checkpoint, baselines=baselines) for name in ("leap", "gcp"))
    assert leap.settings["planner"]["iterations"] == config.leap.iterations
    assert gcp.settings["planner"]["samples"] == list(config.gcp.samples)
    digests = leap.settings["baselines_sha256"]
    tiny_baselines(baselines, ENCODER, seed=1)
    assert make_search("leap", checkpoint, baselines=baselines).settings["baselines_sha256"] != (
        digests
    )
    search = make_search("ptp_no_hierarchy", checkpoint, {"samples": 3})
    assert (search.settings["planner"]["samples"], search.settings["planner"]["levels"]) == (3, 1)
    assert make_search("model_free", checkpoint).settings == {"planner": None}


def test_a_method_acts_with_the_checkpoints_policy_unless_it_has_its_own(checkpoint, baselines):
    networks = tiny_networks()
    before = networks.iql.policy
    make_search("model_free", networks).install_policy(networks)
    assert networks.iql.policy is before
    search = make_search("gcbc", networks, baselines=baselines)
    search.install_policy(networks)
    assert networks.iql.policy is search.policy is not before
    assert set(search.settings["baselines_sha256"]) == {"gcbc.safetensors"}


def test_settings_and_networks_of_another_method_are_refused(checkpoint, baselines):
    reasons = {"leap": "takes its own", "gcp": "takes its own", "model_free": "does not plan"}
    reasons["gcbc"] = "does not plan"
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=f"for the ptp methods; {name} .*{reason}"):
            make_search(name, checkpoint, PlannerConfig(), baselines)
    with pytest.raises(ConfigError, match="leap needs a folder that ptp pretrain-baselines made"):
        make_search("leap", checkpoint)
    with pytest.raises(ConfigError, match="GcpConfig: this planner needs"):
        make_planner(checkpoint, tiny_baselines_config().gcp)
    tiny_baselines(baselines, "f" * 64)
    with pytest.raises(CheckpointError, match="another encoder"):
        make_search("gcp", checkpoint, baselines=baselines)
