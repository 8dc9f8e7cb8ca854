# SPDX-License-Identifier: Apache-2.0
"""A run that an earlier version began goes on: each stage signs its state as that version did."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ptp_core.config import (
    GCIQLConfig,
    GeneratedGoalsConfig,
    HIQLConfig,
    SingleLegsConfig,
    StateTrainConfig,
    ToleranceConfig,
)
from ptp_core.data.encoded_dataset import EXPERT_ACTIONS, EncodedDataset
from ptp_core.data.state_dataset import StateDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.encoders.text import SentenceTable
from ptp_core.planners.backward_planner import BackwardPlanner
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.tiny_networks import (
    ACTIONS,
    ENCODER,
    LATENT,
    SENTENCES,
    tiny_baselines_config,
    tiny_config,
    tiny_instructed_config,
    tiny_networks,
)
from ptp_core.training.baseline_stage import train_gcbc, train_latent_vae, train_midpoints
from ptp_core.training.chunked_stage import train_chunked_policy
from ptp_core.training.classifier_stage import (
    train_goal_classifier,
    train_single_legs,
    train_tolerance,
)
from ptp_core.training.instructed_stage import (
    InstructedFrames,
    PolicyContexts,
    train_instructed_planner,
    train_instructed_policy,
)
from ptp_core.training.iql_stage import train_iql, train_on_generated_goals
from ptp_core.training.state_stage import train_state_learner
from ptp_core.training.state_training import LEARNERS
from ptp_core.training.subgoal_stage import train_generators
from ptp_core.training.vqvae_stage import train_vqvae

STORED = json.loads((Path(__file__).parent / "data" / "stage_states.json").read_text())
"""By stage: its fingerprint, and its tensors by the first two parts of their names.

Hashes of weights differ between processors; "sha256" stands for them.
"""


def one_step(settings):
    return dataclasses.replace(settings, steps=1, batch_size=4)


def with_one_step(config, *names):
    return dataclasses.replace(config, **{name: one_step(getattr(config, name)) for name in names})


def recorded(rng):
    """Two trajectories of 70 frames, of a sentence each."""
    known = [
        Metadata(instruction=text, success=True, segments=(Segment(0, 70, "t", done=60),))
        for text in SENTENCES[:2]
    ]
    codes = rng.integers(0, 16, (140, LATENT.codes)).astype(np.uint16)
    actions = rng.random((140, ACTIONS)).astype(np.float32)
    columns = {EXPERT_ACTIONS: actions}
    return EncodedDataset(codes, actions, np.full(2, 70), ENCODER, metadata=known, columns=columns)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Folder of the states of all stages after one step."""
    out = tmp_path_factory.mktemp("states")
    rng = np.random.default_rng(0)
    data = recorded(rng)
    images = rng.integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    base = with_one_step(tiny_config(), "vqvae", "generators", "iql", "chunked", "classifier")
    config = dataclasses.replace(
        base,
        imagined=GeneratedGoalsConfig(steps=1),
        tolerance=ToleranceConfig(steps=1, batch_size=4),
        single_legs=SingleLegsConfig(steps=1, batch_size=4, channels=4, hidden_units=16),
        iql=dataclasses.replace(base.iql, reward_epsilon=0.1),
    )
    made = tiny_networks(config, diffusion=True)
    vqvae, common = made.vqvae, {"validation": data, "progress": False}
    options = {**common, "validation": images, "content": "a hash"}
    train_vqvae(config, images, out / "vqvae", device=torch.device("cpu"), **options)
    train_goal_classifier(config, vqvae, data, out / "classifier", **common)
    train_chunked_policy(config, vqvae, data, out / "chunked", **common)
    train_generators(config, vqvae, data, out / "generators", **common)
    train_iql(config, vqvae, data, out / "iql", **common)
    parts = vqvae, made.generators, made.part("classifier"), data
    train_tolerance(config, *parts, out / "tolerance", **common)
    parts = *parts[:3], parts[2], data
    train_single_legs(config, *parts, out / "single_legs", **common)
    parts = vqvae, made.generators, made.iql, data
    train_on_generated_goals(config, *parts, out / "imagined", **common)

    baselines = with_one_step(tiny_baselines_config(), "vae", "midpoints")
    train_latent_vae(baselines, vqvae, data, out / "latent_vae", **common)
    train_midpoints(baselines, vqvae, data, out / "midpoints", **common)
    train_gcbc(baselines, made, data, out / "policy", **common)

    told = with_one_step(tiny_instructed_config(), "backward", "policy")
    table = SentenceTable.of("learned", SENTENCES, 4)
    frames = InstructedFrames(data, table, vqvae)
    planner = BackwardPlanner(told.backward, LATENT, 4)
    rest = {"validation": frames, "progress": False}
    train_instructed_planner(
        "backward", planner, told.backward, told, frames, out / "backward", **rest
    )
    contexts = PolicyContexts(frames, planner)
    sizes = ACTIONS, 0, 4, contexts.levels
    pair = (InstructedPolicy(told.policy, LATENT, *sizes) for _ in range(2))
    rest = {**rest, "validation": contexts}
    train_instructed_policy("lbp", *pair, told, contexts, out / "lbp_policy", **rest)

    small = {"hidden": (16,), "batch_size": 4, "steps": 1}
    states = StateTrainConfig(gciql=GCIQLConfig(**small), hiql=HIQLConfig(**small))
    seen = StateDataset(
        states=rng.random((40, 3), np.float32),
        actions=rng.random((40, 2), np.float32),
        lengths=np.full(2, 20),
        state_names=("x", "y", "z"),
        action_names=("a0", "a1"),
    )
    rest = {"validation": seen, "device": torch.device("cpu"), "progress": False}
    for name, learner in LEARNERS.items():
        made = learner(getattr(states, name), 3, 2)
        train_state_learner(name, made, states, seen, out / name, **rest)
    return out


def described(path):
    """Fingerprint and kinds of tensors of a state."""
    with safe_open(path, framework="pt") as file:
        fingerprint = json.loads(file.metadata()["stage"])["fingerprint"]
        names = sorted({"/".join(name.split("/")[:2]) for name in file.keys()})  # noqa: SIM118
    for name in ("imagined", "networks", "planner", "table"):
        if name in fingerprint:
            assert re.fullmatch("[0-9a-f]{64}", fingerprint[name])
            fingerprint[name] = "sha256"
    return {"fingerprint": fingerprint, "tensors": names}


@pytest.mark.parametrize("stage", sorted(STORED))
def test_a_stage_signs_its_state_as_it_did(states, stage):
    assert described(states / stage / "state.safetensors") == STORED[stage]


def test_no_stage_is_left_out(states):
    found = {path.parent for path in states.rglob("state.safetensors")}
    assert {str(folder.relative_to(states)) for folder in found} == set(STORED)
