# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors and a JSON manifest; never a pickle.

manifest.json            format, version, encoder id, names of the actions, configuration,
                         metrics, sha256 of each file
vqvae.safetensors        always
generators.safetensors   subgoal generators dt60, dt30, dt15
iql.safetensors          policy, v, q, q_target
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptp_core.config import TrainConfig, from_dict, to_dict
from ptp_core.data.metadata import CARTESIAN
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.learning.iql import IQL
from ptp_core.models.subgoal_generator import GeneratorHierarchy
from ptp_core.models.vqvae import VQVAE
from ptp_core.training.weights import Precision, WeightsFormat, serialise

PARTS = ("vqvae", "generators", "iql")
ACTIONS = "actions"  # in the manifest; without it: CARTESIAN
FORMAT = WeightsFormat(
    name="ptp-checkpoint",
    version=1,
    parts=PARTS,
    manifest="manifest.json",
    noun="checkpoint",
    command="ptp pretrain",
)


@dataclass
class Checkpoint:
    """A loaded checkpoint; networks are float32, in evaluation mode."""

    folder: Path
    manifest: dict[str, Any]
    config: TrainConfig
    vqvae: VQVAE
    generators: GeneratorHierarchy
    iql: IQL

    @property
    def encoder_id(self) -> str:
        """Return the sha256 of the stored VQ-VAE; codes of another encoder mean nothing here."""
        return self.manifest["encoder_id"]

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the numbers of an action."""
        return tuple(self.manifest.get(ACTIONS, CARTESIAN))


def save_checkpoint(
    folder: str | Path,
    modules: dict[str, nn.Module],
    config: TrainConfig,
    metrics: dict[str, Any],
    *,
    precision: Precision = "float32",
    actions: Sequence[str] = CARTESIAN,
) -> str:
    """Write "vqvae", "generators" and "iql" atomically; return the encoder id.

    ``actions``: names of the numbers of an action.
    ``precision`` float16 halves the files; loading always gives float32. An existing checkpoint
    is replaced; after a kill either the old or the new one is there.
    """
    contents: dict[str, bytes] = {}
    encoder_id = ""
    for part in PARTS:
        contents[part] = serialise(modules[part], precision, encoder_id)
        # The VQ-VAE is the first part.
        encoder_id = encoder_id or hashlib.sha256(contents[part]).hexdigest()
    fields = {"precision": precision, ACTIONS: list(actions)}
    fields |= {"config": to_dict(config), "metrics": metrics}
    FORMAT.write(Path(folder), contents, encoder_id, fields)
    return encoder_id


def save_again(folder: str | Path, checkpoint: Checkpoint, metrics: dict[str, Any]) -> str:
    """Write a loaded checkpoint with its networks as they are now; return the encoder id.

    The precision stays, so an encoder that was not trained keeps its identity.
    """
    modules = {part: getattr(checkpoint, part) for part in PARTS}
    precision = checkpoint.manifest["precision"]
    actions = checkpoint.actions
    return save_checkpoint(
        folder, modules, checkpoint.config, metrics, precision=precision, actions=actions
    )


def load_checkpoint(folder: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read and verify a checkpoint.

    Raises CheckpointError, one line with cause and cure, for a missing or truncated file, a wrong
    sha256, parts of different encoders, another format version, or weights that do not fit the
    configuration.
    """
    folder = Path(folder)
    source, manifest = FORMAT.read_manifest(folder)
    try:
        config = from_dict(TrainConfig, manifest["config"], source=str(source / "manifest.json"))
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version") from error
    names = manifest.get(ACTIONS, list(CARTESIAN))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{source / 'manifest.json'}: {ACTIONS} must be a list of names; restore the folder"
        )
    latent, actions = config.vqvae.latent, len(names)
    modules: dict[str, nn.Module] = {
        "vqvae": VQVAE(config.vqvae),
        "generators": GeneratorHierarchy(config.generators, latent),
        "iql": IQL(config.iql, latent, actions),
    }
    encoder_id = manifest["encoder_id"]
    if manifest["files"]["vqvae.safetensors"]["sha256"] != encoder_id:
        raise CheckpointError(
            f"{source}: vqvae.safetensors is not the encoder that the manifest names; "
            "restore the whole folder from one source"
        )
    for part, module in modules.items():
        FORMAT.load_part(source, part, module, manifest)
        module.to(device).eval()
    modules["vqvae"].requires_grad_(False)
    modules["generators"].requires_grad_(False)
    return Checkpoint(folder=folder, manifest=manifest, config=config, **modules)
