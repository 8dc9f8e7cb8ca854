# SPDX-License-Identifier: Apache-2.0
"""Tiny random networks for tests: untrained, quick to load and to run."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ptp_core.agents.registry import DEFAULT_METHOD, method_named
from ptp_core.agents.subgoal_agent import subgoal_spec
from ptp_core.config import (
    BackwardConfig,
    BaselinesConfig,
    ChunkedPolicyConfig,
    DiffusionConfig,
    FollowerConfig,
    ForwardConfig,
    GcpConfig,
    GoalClassifierConfig,
    GoalFusionConfig,
    InstructedPartConfig,
    InstructedPolicyConfig,
    InstructionTrainConfig,
    IQLConfig,
    LatentVAEConfig,
    LeapConfig,
    MidpointConfig,
    ParallelConfig,
    PlannerConfig,
    PlannerPartConfig,
    ProposerConfig,
    SentenceGoalsConfig,
    SentenceTableConfig,
    ShownLegsConfig,
    SubgoalGeneratorConfig,
    TextConfig,
    TrainConfig,
    VQVAEConfig,
)
from ptp_core.config.network_config import PIXELS_PER_CODE
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.encoders.sentence_goals import SentenceGoals
from ptp_core.encoders.text import SentenceTable, normalised
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.learning.iql import IQL
from ptp_core.planners.gcp_planner import MidpointGenerator
from ptp_core.planners.leap_planner import LatentVAE
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.planners.shown_legs import ShownLegs
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.policies.cloned_policy import ClonedPolicy
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.practice.policy_library import save_finetuned
from ptp_core.training.baseline_training import baseline, save_baseline
from ptp_core.training.checkpoint import (
    Checkpoint,
    Part,
    load_checkpoint,
    save_checkpoint,
)
from ptp_core.training.instructed_training import KINDS, PLANNERS

__all__ = [
    "ACTIONS",
    "ENCODER",
    "LATENT",
    "SENTENCES",
    "distance_value",
    "rng",
    "tiny_baseline_folders",
    "tiny_baselines",
    "tiny_baselines_config",
    "tiny_checkpoint",
    "tiny_config",
    "tiny_instructed",
    "tiny_instructed_checkpoint",
    "tiny_instructed_config",
    "tiny_networks",
    "tiny_vqvae",
]

ENCODER = "e" * 64  # encoder id of networks that have no file
LATENT = VQVAEConfig().latent  # latent shape of the tiny networks, the same as in the paper
ACTIONS = len(CARTESIAN)  # dimensions of their actions
APART = 5e-4  # least distance of two codes of tiny networks
SENTENCES = ("close the drawer", "open the drawer", "put the block on the tray")  # known ones


def rng(seed: int = 0) -> torch.Generator:
    """A generator of random numbers on the CPU."""
    return torch.Generator().manual_seed(seed)


def distance_value(latents: Tensor, goals: Tensor) -> Tensor:
    """A value function: minus the distance of latents (..., D) to goals, (...)."""
    return -torch.linalg.vector_norm(latents - goals, dim=-1)


def tiny_config(**iql: Any) -> TrainConfig:
    """Settings of tiny networks and of plans that take milliseconds; ``iql``: more of IQL's."""
    return TrainConfig(
        vqvae=VQVAEConfig(
            codebook_size=32,
            hidden_channels=8,
            stem_channels=4,
            residual_channels=4,
            residual_blocks=1,
        ),
        generators=SubgoalGeneratorConfig(hidden_channels=4, hidden_units=16),
        iql=IQLConfig(policy_hidden=(16,), q_hidden=(16,), value_hidden=(16,), **iql),
        planner=PlannerConfig(samples=4, iterations=1),
        follower=FollowerConfig(timeout=3, distance_threshold=0.0),
        chunked=ChunkedPolicyConfig(
            channels=4,
            condition_units=16,
            proprioception=False,
            head=DiffusionConfig(hidden_units=16, blocks=1, sampling_steps=2),
            steps=0,
        ),
        classifier=GoalClassifierConfig(channels=4, hidden_units=16, steps=0),
    )


def tiny_vqvae() -> VQVAE:
    """A VQ-VAE without gradients whose code vectors differ, with fixed weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vqvae = VQVAE(tiny_config().vqvae).requires_grad_(False)
    vqvae.codebook.copy_(torch.randn(vqvae.codebook.shape, generator=rng(1)) * 0.1)
    return vqvae


def tiny_networks(
    config: TrainConfig | None = None,
    seed: int = 0,
    actions: Sequence[str] = CARTESIAN,
    *,
    diffusion: bool = False,
) -> Checkpoint:
    """A checkpoint in memory, with weights drawn from ``seed``.

    ``diffusion``: with a chunked policy and a goal classifier.
    """
    config = config or tiny_config()
    latent = config.vqvae.latent
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vqvae, iql = VQVAE(config.vqvae), IQL(config.iql, latent, len(actions))
        generators = GeneratorHierarchy(config.generators, latent)
        _spread_codes(vqvae)
        more = {}
        if diffusion:
            policy = ChunkedPolicy(config.chunked, latent, len(actions), 0).eval()
            classifier = GoalClassifier(config.classifier, latent).eval().requires_grad_(False)
            more["chunked"] = Part("chunked", policy, config.chunked)
            more["classifier"] = Part("classifier", classifier, config.classifier)
            shown = ShownLegs(ShownLegsConfig(count=20, z_dim=config.generators.z_dim))
            shown.z.copy_(torch.randn(shown.z.shape, generator=rng(seed)))
            more["shown_legs"] = Part("shown_legs", shown, shown.config)
    with torch.no_grad():  # large enough to move the arm visibly
        for parameter in iql.parameters():
            parameter.mul_(3.0)
    for fixed in (vqvae, generators):
        fixed.requires_grad_(False)
    return Checkpoint(
        Path("nowhere"),
        subgoal_spec(DEFAULT_METHOD, vqvae, actions, ENCODER),
        config,
        Part("vqvae", vqvae.eval(), config.vqvae),
        {
            "generators": Part("generators", generators.eval(), config.generators),
            "iql": Part("iql", iql.eval(), config.iql),
            **more,
        },
        ENCODER,
    )


def tiny_checkpoint(
    folder: str | Path,
    seed: int = 0,
    config: TrainConfig | None = None,
    precision: Literal["float32", "float16"] = "float32",
    actions: Sequence[str] = CARTESIAN,
) -> str:
    """Write `tiny_networks` to a folder; return their encoder id."""
    made = tiny_networks(config, seed, actions)
    for part in (made.encoder, *made.parts.values()):
        part.precision = precision
    return save_checkpoint(
        folder, made.parts, made.config, metrics={}, spec=made.spec, encoder=made.encoder
    )


def tiny_baselines_config(**changes: Any) -> BaselinesConfig:
    """Settings of tiny networks of LEAP and GCP, of their training and of plans with them."""
    values = {
        "device": "cpu",
        "log_every": 5,
        "vae": LatentVAEConfig(z_dim=4, hidden_units=16, batch_size=8, steps=10),
        "midpoints": MidpointConfig(
            z_dim=2, hidden_channels=4, hidden_units=16, depth=2, batch_size=8, steps=10
        ),
        "leap": LeapConfig(subgoals=2, samples=8, iterations=2),
        "gcp": GcpConfig(depth=2, samples=(3, 2)),
    }
    return BaselinesConfig(**{**values, **changes})


def tiny_baselines(
    checkpoint: Checkpoint, seed: int = 0, config: BaselinesConfig | None = None
) -> dict[str, Checkpoint]:
    """Checkpoints in memory of LEAP, GCP and GCBC, with weights drawn from ``seed``.

    Policy, value and encoder are those of ``checkpoint``.
    """
    config, cloned = config or tiny_baselines_config(), tiny_config().iql
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own = {
            "leap": Part("latent_vae", LatentVAE(config.vae, LATENT), config.vae),
            "gcp": Part(
                "midpoints", MidpointGenerator(config.midpoints, LATENT), config.midpoints
            ),
            "gcbc": Part("policy", ClonedPolicy(cloned, LATENT, ACTIONS), cloned),
        }
    for part in own.values():
        part.module.eval().requires_grad_(False)
    return {name: baseline(name, part, config, checkpoint) for name, part in own.items()}


def tiny_baseline_folders(
    checkpoint: str | Path, seed: int = 0, config: BaselinesConfig | None = None
) -> dict[str, Path]:
    """Write `tiny_baselines` beside a checkpoint's folder; return each folder by its method."""
    loaded = load_checkpoint(checkpoint)
    folders = {}
    for name, made in tiny_baselines(loaded, seed, config).items():
        folders[name] = Path(checkpoint).parent / name
        save_baseline(folders[name], made)
    return folders


def tiny_instructed_config(**changes: Any) -> InstructionTrainConfig:
    """Settings of tiny networks that take instructions, and of their training."""
    small: dict[str, Any] = {"hidden_factor": 0.02, "batch_size": 8, "steps": 6}
    values = {
        "device": "cpu",
        "log_every": 2,
        "vqvae": dataclasses.replace(tiny_config().vqvae, steps=4, batch_size=4),
        "text": TextConfig(kind="learned", dimensions=4),
        "backward": BackwardConfig(**small),
        "forward": ForwardConfig(**small),
        "parallel": ParallelConfig(**small),
        "proposer": ProposerConfig(
            channels=4, blocks=1, sampling_steps=2, hold_steps=3, batch_size=8, steps=6
        ),
        "policy": InstructedPolicyConfig(
            channels=4,
            condition_units=16,
            proprioception=False,
            head=DiffusionConfig(hidden_units=16, blocks=1, sampling_steps=5),
            fusion=GoalFusionConfig(blocks=1, feedforward=8),
            batch_size=8,
            steps=6,
        ),
    }
    return InstructionTrainConfig(**{**values, **changes})


def tiny_instructed(
    name: str,
    seed: int = 0,
    config: InstructionTrainConfig | None = None,
    sentences: Sequence[str] = SENTENCES,
) -> Checkpoint:
    """A checkpoint in memory of LBP or a baseline of it, which knows these sentences."""
    config, method = config or tiny_instructed_config(), method_named(name)
    words = config.text.dimensions
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vqvae = VQVAE(config.vqvae)
        _spread_codes(vqvae)
        known = tuple(sorted(map(normalised, sentences)))
        about: Any = SentenceTableConfig(kind="learned", dimensions=words, sentences=known)
        parts = {"sentences": Part("sentences", SentenceTable(about), about)}
        levels = int(name == "glcbc")
        planner = next((part for part in method.parts if part.endswith("_planner")), None)
        if planner is not None:
            kind = PLANNERS[planner.removesuffix("_planner")]
            settings = getattr(config, kind)
            about = PlannerPartConfig(language=words, **{kind: settings})
            parts[planner] = Part(kind, KINDS[kind](settings, LATENT, words), about)
            levels = parts[planner].module.levels
        if name == "glcbc":
            about = SentenceGoalsConfig(sentences=len(sentences), codes=LATENT.codes)
            goals = SentenceGoals(about)
            goals.codes.random_(len(vqvae.codebook))
            parts["sentence_goals"] = Part("sentence_goals", goals, about)
        about = InstructedPartConfig(policy=config.policy, language=words, levels=levels)
        policy = InstructedPolicy(config.policy, LATENT, ACTIONS, 0, words, levels)
        # As after training. In untrained networks the sign of the noise decides alone.
        for film in policy.films:
            torch.nn.init.normal_(film.layer.weight, std=0.5)
        for layer in (policy.condition[-1], policy.head.first, policy.head.last):
            torch.nn.init.normal_(layer.weight)
        parts[method.learned] = Part("instructed", policy, about)
    for part in parts.values():
        part.module.eval().requires_grad_(False)
    return Checkpoint(
        Path("nowhere"),
        dataclasses.replace(subgoal_spec(name, vqvae, CARTESIAN, ENCODER), goals=method.goals),
        config,
        Part("vqvae", vqvae.eval().requires_grad_(False), config.vqvae),
        parts,
        ENCODER,
    )


def tiny_instructed_checkpoint(
    folder: str | Path, name: str = "lbp", seed: int = 0, sentences: Sequence[str] = SENTENCES
) -> str:
    """Write `tiny_instructed` to a folder; return its encoder id."""
    made = tiny_instructed(name, seed, sentences=sentences)
    for part in (made.encoder, *made.parts.values()):
        part.precision = "float32"
    return save_checkpoint(
        folder, made.parts, made.config, metrics={}, spec=made.spec, encoder=made.encoder
    )


def tiny_finetuned(
    path: Path, checkpoint: Checkpoint, goal: torch.Tensor, add: float
) -> dict[str, torch.Tensor]:
    """Write a fine-tuned policy for a goal (D,), ``add`` added to all weights; return these."""
    path.parent.mkdir(exist_ok=True)
    iql = copy.deepcopy(checkpoint.iql)
    iql.load_state_dict({name: value + add for name, value in iql.state_dict().items()})
    library = PlanLibrary(checkpoint.encoder_id)
    parts = {**checkpoint.parts, "iql": dataclasses.replace(checkpoint.parts["iql"], module=iql)}
    tuned = dataclasses.replace(checkpoint, parts=parts)
    save_finetuned(path, tuned, "iql", goal[None].numpy(), library, {"added": add})
    return iql.state_dict()


def _spread_codes(vqvae: VQVAE) -> None:
    """Set the codebook to encoder outputs of random tiles, so that images differ in codes."""
    channels, height, width = vqvae.latent
    tiles = torch.randint(0, 256, (8, height, width, 3), dtype=torch.uint8)
    side = PIXELS_PER_CODE
    raw = vqvae.raw(tiles.repeat_interleave(side, 1).repeat_interleave(side, 2))
    vectors = raw.detach().view(len(tiles), channels, -1).transpose(1, 2).flatten(0, 1)
    picks: list[int] = []
    for number in torch.randperm(len(vectors)).tolist():
        # Of two codes that nearly coincide, rounding would choose, on each machine another.
        if not picks or (vectors[picks] - vectors[number]).norm(dim=1).min() > APART:
            picks.append(number)
    with torch.no_grad():
        vqvae.codebook.copy_(vectors[picks[: len(vqvae.codebook)]])
