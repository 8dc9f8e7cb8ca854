# SPDX-License-Identifier: Apache-2.0
"""What the nodes with networks share: the checkpoint, its identity and its agent's spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.registry import DEFAULT_METHOD, METHOD_HELP, agent_names, method_named
from ptp_core.errors import CheckpointError
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_ros.lifecycle import ManagedParameters
from ptp_ros.parameters import parameter


@dataclass(frozen=True)
class NetworkParameters(ManagedParameters):
    """Parameters of a node that runs networks."""

    checkpoint: str = parameter("", "folder of the checkpoint: manifest.json and weights")


@dataclass(frozen=True)
class PolicyNetworkParameters(NetworkParameters):
    """Parameters of a node that runs the networks which practice changes."""

    method: str = parameter(DEFAULT_METHOD, METHOD_HELP, choices=agent_names)
    finetuned: str = parameter(
        "", "folder of policies that practised one task each, taken for its goals; empty: none"
    )


def finetuned_policies(
    parameters: PolicyNetworkParameters, checkpoint: Checkpoint
) -> FineTunedPolicies | None:
    """The policies that the parameters name. Raises CheckpointError where they do not fit."""
    folder = parameters.finetuned
    if not folder:
        return None
    return FineTunedPolicies(checkpoint, Path(folder), method_named(parameters.method).learned)


def load_networks(parameters: NetworkParameters) -> Checkpoint:
    """Load the checkpoint for inference in this process, with one torch thread.

    One is fastest for single pictures and always gives the same bits.

    Raises CheckpointError where it is missing, damaged, or has weights that are not finite.
    """
    if not parameters.checkpoint:
        raise CheckpointError("no checkpoint given: set the parameter checkpoint to its folder")
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(parameters.checkpoint)
    for part, module in checkpoint.modules().items():
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{checkpoint.folder}: {part}.{name} has values that are not finite; "
                    "take an earlier checkpoint"
                )
    return checkpoint


def weights_version(checkpoint: Checkpoint, part: str | None = None) -> str:
    """Short identity of the weights that act, as commands carry it.

    ``part``: what the agent learns; None: what that of the checkpoint's own method does.
    """
    name = part or method_named(checkpoint.agent).learned
    return "" if name is None else checkpoint.parts[name].stored.sha256[:12]


def agent_spec(checkpoint: Checkpoint) -> AgentSpec:
    """What the agent of a checkpoint needs and gives."""
    return checkpoint.spec
