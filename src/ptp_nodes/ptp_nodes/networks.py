# SPDX-License-Identifier: Apache-2.0
"""What the nodes with networks share: the checkpoint, its identity and its agent's spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.errors import CheckpointError
from ptp_core.practice.finetuned import FineTunedPolicies
from ptp_core.practice.methods import DEFAULT_METHOD, ON_THE_GRAPH
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_nodes.practice_setting import METHOD
from ptp_ros.lifecycle import ManagedParameters
from ptp_ros.parameters import parameter


@dataclass(frozen=True)
class NetworkParameters(ManagedParameters):
    """Parameters of a node that runs networks."""

    checkpoint: str = parameter("", "folder of the checkpoint: manifest.json and weights")


@dataclass(frozen=True)
class PolicyNetworkParameters(NetworkParameters):
    """Parameters of a node that runs the networks which practice changes."""

    method: str = parameter(DEFAULT_METHOD, METHOD, choices=ON_THE_GRAPH)
    finetuned: str = parameter(
        "", "folder of policies that practised one task each, taken for its goals; empty: none"
    )


def finetuned_policies(
    parameters: PolicyNetworkParameters, checkpoint: Checkpoint
) -> FineTunedPolicies | None:
    """The policies that the parameters name. Raises CheckpointError where they do not fit."""
    folder = parameters.finetuned
    return FineTunedPolicies(checkpoint, Path(folder)) if folder else None


def load_networks(parameters: NetworkParameters) -> Checkpoint:
    """Load the checkpoint for inference in this process, with one torch thread.

    One is fastest for single pictures and always gives the same bits.

    Raises CheckpointError where it is missing, damaged, or has weights that are not finite.
    """
    if not parameters.checkpoint:
        raise CheckpointError("no checkpoint given: set the parameter checkpoint to its folder")
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(parameters.checkpoint)
    for part in ("vqvae", "generators", "iql"):
        for name, tensor in getattr(checkpoint, part).state_dict().items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{checkpoint.folder}: {part}.{name} has values that are not finite; "
                    "take an earlier checkpoint"
                )
    return checkpoint


def weights_version(checkpoint: Checkpoint) -> str:
    """Short identity of the policy's weights, as commands carry it."""
    return checkpoint.manifest["files"]["iql.safetensors"]["sha256"][:12]


def agent_spec(checkpoint: Checkpoint) -> AgentSpec:
    """What the agent of a checkpoint needs and gives."""
    return SubgoalAgent(checkpoint).spec
