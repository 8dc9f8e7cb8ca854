# SPDX-License-Identifier: Apache-2.0
"""What the nodes with networks share: the checkpoint, its identity, and checks of codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ptp_interfaces.msg import ErrorCode

from ptp_core.data.metadata import CARTESIAN
from ptp_core.errors import CheckpointError
from ptp_core.practice.finetuned import FineTunedPolicies
from ptp_core.practice.methods import DEFAULT_METHOD, ON_THE_GRAPH
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_nodes.practice_setting import METHOD
from ptp_ros.errors import RequestError
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


def check_actions(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError unless its actions are those that the arm takes."""
    if checkpoint.actions != CARTESIAN:
        raise CheckpointError(
            f"{checkpoint.folder}: its actions are {', '.join(checkpoint.actions)}; the arm takes "
            f"{', '.join(CARTESIAN)}: take a checkpoint that was trained on such an arm"
        )


def weights_version(checkpoint: Checkpoint) -> str:
    """Short identity of the policy's weights, as commands carry it."""
    return checkpoint.manifest["files"]["iql.safetensors"]["sha256"][:12]


def check_encoder(encoder_id: str, checkpoint: Checkpoint, what: str) -> None:
    """Raise RequestError unless codes of ``encoder_id`` mean something to ``checkpoint``."""
    if encoder_id != checkpoint.encoder_id:
        raise RequestError(
            ErrorCode.WRONG_ENCODER,
            f"the {what} codes are of encoder {encoder_id[:12] or '(unnamed)'}, this node has "
            f"{checkpoint.encoder_id[:12]}: start all nodes with the same checkpoint",
        )


def check_codes(codes, checkpoint: Checkpoint, what: str) -> np.ndarray:
    """Codes as int64 (n, those of a latent), or RequestError for a wrong length or value."""
    array = np.asarray(codes, dtype=np.int64)
    length = checkpoint.vqvae.latent.codes
    if array.size % length:
        raise RequestError(
            ErrorCode.BAD_LATENT,
            f"the {what} has {array.size} codes; a latent has {length}",
        )
    size = len(checkpoint.vqvae.codebook)
    if array.size and not 0 <= array.min() <= array.max() < size:
        raise RequestError(
            ErrorCode.BAD_LATENT,
            f"the {what} has code {int(array.max())}; the codebook ends at {size - 1}",
        )
    return array.reshape(-1, length)
