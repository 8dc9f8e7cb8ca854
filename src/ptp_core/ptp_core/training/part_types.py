# SPDX-License-Identifier: Apache-2.0
"""Part types: the kinds of networks in checkpoints, and how to make them from settings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from ptp_core.agents.agent import AgentSpec
from ptp_core.config import (
    ChunkedPolicyConfig,
    GoalClassifierConfig,
    IQLConfig,
    LatentVAEConfig,
    MidpointConfig,
    SubgoalGeneratorConfig,
    VQVAEConfig,
)
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.learning.iql import IQL
from ptp_core.planners.latent_vae import LatentVAE
from ptp_core.planners.midpoint_generator import MidpointGenerator
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.policies.cloned_policy import ClonedPolicy

GROUP = "ptp.parts"  # entry points of installed packages: name -> PartType


Make = Callable[[Any, AgentSpec, nn.Module | None], nn.Module]
"""From a part's configuration, the agent's spec and its encoder to the network, any weights."""


@dataclass(frozen=True)
class PartType:
    """A kind of part, encoders too."""

    name: str  # in manifests
    make: Make
    config: type  # dataclass of its settings in the manifest
    learns: bool = False  # whether it needs gradients after loading


def _vqvae(config: VQVAEConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return VQVAE(config)


def _generators(
    config: SubgoalGeneratorConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return GeneratorHierarchy(config, encoder.latent)


def _iql(config: IQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return IQL(config, encoder.latent, len(spec.actions))


def _latent_vae(config: LatentVAEConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return LatentVAE(config, encoder.latent)


def _midpoints(config: MidpointConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return MidpointGenerator(config, encoder.latent)


def _policy(config: IQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return ClonedPolicy(config, encoder.latent, len(spec.actions))


def _chunked(config: ChunkedPolicyConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    own = len(spec.proprioception) if config.proprioception else 0
    return ChunkedPolicy(config, encoder.latent, len(spec.actions), own)


def _classifier(
    config: GoalClassifierConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return GoalClassifier(config, encoder.latent)


_BUILT_IN = (
    PartType("vqvae", _vqvae, VQVAEConfig),
    PartType("generators", _generators, SubgoalGeneratorConfig),
    PartType("iql", _iql, IQLConfig, learns=True),
    PartType("latent_vae", _latent_vae, LatentVAEConfig),
    PartType("midpoints", _midpoints, MidpointConfig),
    PartType("policy", _policy, IQLConfig),
    PartType("chunked", _chunked, ChunkedPolicyConfig, learns=True),
    PartType("classifier", _classifier, GoalClassifierConfig),
)
_registered: dict[str, PartType] = {}


def register_part(part: PartType) -> None:
    """Register a part type in this process. Raises ConfigError where the name is taken.

    An installed package declares its types as entry points of the group ``ptp.parts`` instead.
    """
    known = {one.name: one for one in _BUILT_IN} | _registered
    if known.get(part.name, part) != part:
        raise ConfigError(f'there is a part type "{part.name}" already: choose another name')
    _registered[part.name] = part


def registered_parts() -> tuple[PartType, ...]:
    """Types that `register_part` got, so that another process can register them too."""
    return tuple(_registered.values())


def part_type(name: str, source: str) -> PartType:
    """The part type of this name. Raises CheckpointError, which names ``source``."""
    known = {one.name: one for one in _BUILT_IN} | _registered
    if name not in known:
        known |= _installed()
    if name not in known:
        raise CheckpointError(
            f'{source}: has a part of type "{name}"; this program knows {", ".join(known)}: '
            "install the package that it is from, or register the type"
        )
    return known[name]


@functools.cache
def _installed() -> dict[str, PartType]:
    found = (entry.load() for entry in entry_points(group=GROUP))
    return {part.name: part for part in found}
