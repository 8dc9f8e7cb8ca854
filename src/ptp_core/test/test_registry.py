# SPDX-License-Identifier: Apache-2.0
"""From a method's name to its agent: each plans in its own way, on the same policy and encoder."""

import subprocess
import sys

import pytest
import torch

from ptp_core.agents.registry import (
    AgentOptions,
    agent_names,
    build_agent,
    checkpoint_for,
    method_named,
    methods,
    register,
)
from ptp_core.config import PlannerConfig
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.planners.gcp_planner import GcpPlanner
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.planners.leap_planner import LeapPlanner
from ptp_core.planners.leg_planner import LegPlanner
from ptp_core.tiny_networks import (
    rng,
    tiny_baseline_folders,
    tiny_baselines,
    tiny_baselines_config,
    tiny_checkpoint,
    tiny_instructed,
    tiny_networks,
)

OWN = agent_names()  # before another test registers a method of its own
INSTRUCTED = tuple(name for name in OWN if "sentences" in method_named(name).parts)
STATES = tuple(name for name in OWN if method_named(name).goals == ("state",))
DIFFUSION = ("ptp_legs", "diffusion_bc")


@pytest.fixture(scope="module")
def checkpoint():
    return tiny_networks()


@pytest.fixture(scope="module")
def checkpoints(checkpoint):
    """Of each method."""
    with_diffusion = tiny_networks(diffusion=True)
    plain = [name for name in OWN if name not in (*INSTRUCTED, *STATES)]
    own = {name: with_diffusion if name in DIFFUSION else checkpoint for name in plain}
    return own | tiny_baselines(checkpoint)


@pytest.fixture
def pair(checkpoint):
    return checkpoint.vqvae.lookup(torch.randint(32, (2, 144), generator=rng(2)))


def test_listing_the_methods_loads_no_networks():
    code = (
        "import sys; from ptp_core.agents.registry import methods; print(len(methods())); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) == len(OWN), done.stderr


def test_every_method_says_what_it_is():
    for name, method in methods().items():
        assert method.name == name and method.summary and method.parts
        assert method.learned in method.parts


def test_every_method_plans_with_its_own_planner_or_not_at_all(checkpoints, pair):
    made = {name: build_agent(name, each) for name, each in checkpoints.items()}
    assert all(agent.spec.agent == name for name, agent in made.items())
    kinds = {name: type(agent.planner) for name, agent in made.items()}
    without = [kinds.pop(name) for name in ("model_free", "gcbc", "diffusion_bc")]
    assert set(without) == {type(None)}
    own = {"leap": LeapPlanner, "gcp": GcpPlanner, "ptp_legs": LegPlanner}
    assert {name: kinds.pop(name) for name in own} == own
    assert set(kinds.values()) == {HierarchicalPlanner} and len(kinds) == 5
    lengths = {"ptp": 8, "ptp_single_subgoal": 2, "ptp_no_hierarchy": 8, "leap": 3, "gcp": 4}
    for name, length in lengths.items():
        plan = made[name].planner.plan(*pair, rng(), remember=True)
        assert plan.codes.shape == (length, 144)
        assert torch.equal(plan.latents[-1], pair[1])
    levels = {name: len(agent.buffers) for name, agent in made.items() if agent.buffers}
    assert levels == {
        "ptp": 3,
        "ptp_single_subgoal": 1,
        "ptp_no_buffer": 3,
        "ptp_no_hierarchy": 1,
        "ptp_no_buffer_no_hierarchy": 1,
    }


def test_methods_that_take_instructions_have_checkpoints_of_their_own(checkpoint):
    assert {"lbp", "lcbc", "glcbc", "susie_style"} < set(INSTRUCTED) and len(INSTRUCTED) == 7
    for name in INSTRUCTED:
        own = tiny_instructed("lbp" if name == "lbp_goal_image" else name)
        agent = build_agent(name, own)
        assert agent.spec.agent == name and "language" in agent.spec.goals
        assert agent.learned is own.part(method_named(name).learned)
    with pytest.raises(
        CheckpointError, match="no lcbc_policy, which lcbc needs; it has sentences"
    ):
        build_agent("lcbc", tiny_instructed("lbp"))
    with pytest.raises(CheckpointError, match="no sentences, which lbp needs; it has generators"):
        build_agent("lbp", checkpoint)


def test_methods_that_learn_from_states_have_no_encoder_and_checkpoints_of_their_own(checkpoint):
    assert STATES == ("gciql", "hiql")
    for name in STATES:
        method = method_named(name)
        assert (method.parts, method.learned, method.practises) == ((name,), name, False)
        with pytest.raises(CheckpointError, match=f"no {name}, which {name} needs; it has gener"):
            build_agent(name, checkpoint)


def test_baselines_judge_with_the_checkpoints_value(pair):
    """What practice learns of V takes effect in their next plans."""
    learner = tiny_networks()
    made = tiny_baselines(learner)
    planners = [build_agent(name, made[name]).planner for name in ("leap", "gcp")]
    before = [planner.plan(*pair, rng()).costs["value"] for planner in planners]
    with torch.no_grad():
        for parameter in learner.iql.v.parameters():
            parameter.mul_(2.0)
    after = [planner.plan(*pair, rng()).costs["value"] for planner in planners]
    assert all(one != other for one, other in zip(before, after))


def test_settings_name_what_plans_depend_on(checkpoint, checkpoints):
    config = tiny_baselines_config()
    leap, gcp = (build_agent(name, checkpoints[name]) for name in ("leap", "gcp"))
    assert leap.settings["planner"]["iterations"] == config.leap.iterations
    assert gcp.settings["planner"]["samples"] == list(config.gcp.samples)
    options = AgentOptions(planner={"samples": 3})
    planner = build_agent("ptp_no_hierarchy", checkpoint, options).settings["planner"]
    assert (planner["samples"], planner["levels"]) == (3, 1)
    model_free = build_agent("model_free", checkpoint).settings
    assert model_free["planner"] is None and set(model_free) == {"planner", "follower"}


def test_what_an_agent_learns_is_what_it_acts_with(checkpoint, checkpoints):
    for name, each in checkpoints.items():
        learned = build_agent(name, each).learned
        own = {"gcbc": "policy"} | dict.fromkeys(DIFFUSION, "chunked")
        assert learned is each.part(own.get(name, "iql"))
    assert build_agent("leap", checkpoints["leap"]).learned is checkpoint.iql


def test_options_that_a_method_cannot_use_are_refused(checkpoints):
    reasons = {"leap": "takes its own", "gcp": "takes its own", "model_free": "does not plan"}
    reasons["gcbc"] = "does not plan"
    options = AgentOptions(planner=PlannerConfig())
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=f"for the ptp methods; {name} .*{reason}"):
            build_agent(name, checkpoints[name], options)


def test_a_checkpoint_without_the_methods_parts_is_refused(checkpoint, checkpoints):
    with pytest.raises(CheckpointError, match="no latent_vae, which leap needs; it has generat"):
        build_agent("leap", checkpoint)
    with pytest.raises(CheckpointError, match="no generators, which ptp needs; it has latent_vae"):
        build_agent("ptp", checkpoints["leap"])
    both = tiny_networks()
    both.parts["latent_vae"] = checkpoints["leap"].parts["latent_vae"]
    with pytest.raises(CheckpointError, match="without the settings of leap: name a checkpoint"):
        build_agent("leap", both)
    assert build_agent("model_free", checkpoints["leap"]).spec.agent == "model_free"


def test_of_several_methods_each_finds_its_checkpoint_beside_the_others(tmp_path):
    base = tmp_path / "mine"
    tiny_checkpoint(base)
    assert checkpoint_for("ptp", base) == base
    with pytest.raises(CheckpointError, match=r"mine: no latent_vae, .*leap is no checkpoint"):
        checkpoint_for("leap", base)
    folders = tiny_baseline_folders(base)
    assert checkpoint_for("leap", base) == folders["leap"] == tmp_path / "leap"
    folders["gcp"].rename(tmp_path / "kept")
    folders["leap"].rename(tmp_path / "gcp")
    with pytest.raises(CheckpointError, match="gcp: no midpoints, which gcp needs"):
        checkpoint_for("gcp", base)


def test_names_of_methods_are_taken_once():
    with pytest.raises(ConfigError, match='no method "dreams"; there are ptp'):
        method_named("dreams")
    other = type(method_named("leap"))(name="ptp", summary="", build=print, parts=())
    with pytest.raises(ConfigError, match='there is a method "ptp" already'):
        register(other)
