# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the networks of one control step: image to latent, latent to action."""

from __future__ import annotations

import torch

from ptp_cli.bench.measuring import (
    BenchSettings,
    Figures,
    median,
    milliseconds,
    target_pictures,
    torch_threads,
)
from ptp_core.agents.agent import AgentSeeds, LatentGoal, Observation
from ptp_core.agents.registry import build_agent

THREADS = 1  # as in the nodes
METHOD = "model_free"  # one subgoal is as good as another here


def measure(settings: BenchSettings) -> Figures:
    """Encode one picture; follow one subgoal to an action. Batches of one, as a robot needs."""
    checkpoint = settings.load()
    repeats = settings.pick(400, 5)
    start, goal = target_pictures(("A",))[0]
    agent = build_agent(METHOD, checkpoint)
    with torch_threads(THREADS), torch.inference_mode():
        picture = torch.from_numpy(start)[None]
        encode = milliseconds(lambda: checkpoint.vqvae.encode(picture), repeats)
        codes = checkpoint.vqvae.encode(picture)[0].numpy()
        target = LatentGoal(checkpoint.vqvae.encode(torch.from_numpy(goal)[None])[0].numpy())
        observation = Observation(latent=codes)
        agent.reset(observation, target, AgentSeeds(0, 0), subgoals=[target])
        act = milliseconds(lambda: agent.act(observation), repeats)
    return {
        "encode_ms": median(encode),
        "act_ms": median(act),
        "policy_threads": THREADS,
        "policy_encoder": checkpoint.encoder_id[:12],
    }
