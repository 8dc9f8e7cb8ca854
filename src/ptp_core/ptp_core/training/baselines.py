# SPDX-License-Identifier: Apache-2.0
"""The networks of the methods that PTP is compared with, trained on one checkpoint's encoder.

baselines.json           format, version, encoder id, configuration, metrics, sha256 of each file
vae.safetensors          LEAP's VAE of latents
midpoints.safetensors    GCP's midpoint generator
gcbc.safetensors         GCBC's policy

A folder may lack some of the three.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptp_core.config import (
    BaselinesConfig,
    IQLConfig,
    LatentShape,
    VQVAEConfig,
    from_dict,
    to_dict,
)
from ptp_core.data.metadata import CARTESIAN
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.learning.iql import IQL, GoalNetwork
from ptp_core.models.latent_vae import LatentVAE
from ptp_core.models.midpoint_generator import MidpointGenerator
from ptp_core.training.weights import Precision, WeightsFormat, serialise

PARTS = ("vae", "midpoints", "gcbc")
PART_OF = {"leap": "vae", "gcp": "midpoints", "gcbc": "gcbc"}  # the network of each method
CLONED = "cloned"  # IQL settings of the checkpoint that GCBC's policy was trained with
LATENT, ACTIONS = "latent", "actions"  # sizes; without them: of the encoder that VQVAEConfig has
FORMAT = WeightsFormat(
    name="ptp-baselines",
    version=1,
    parts=(),  # none must be there
    manifest="baselines.json",  # not a checkpoint's name: searches for checkpoints pass by
    noun="set of baselines",
    command="ptp pretrain-baselines",
)


@dataclass
class Baselines:
    """Loaded networks, float32, in evaluation mode, and the settings of their planners."""

    folder: Path
    manifest: dict[str, Any]
    config: BaselinesConfig
    vae: LatentVAE | None = None
    midpoints: MidpointGenerator | None = None
    gcbc: GoalNetwork | None = None
    cloned: IQLConfig | None = None  # what ``gcbc`` was trained with

    def modules(self) -> dict[str, nn.Module]:
        """The networks that are there, by part."""
        found = {part: getattr(self, part) for part in PARTS}
        return {part: module for part, module in found.items() if module is not None}

    def require(self, part: str) -> None:
        """Raise CheckpointError where this network is missing."""
        if part not in self.modules():
            methods = [method for method, of in PART_OF.items() if of == part]
            raise CheckpointError(
                f"{self.folder}: no {part}.safetensors there; train it with {FORMAT.command} "
                f"--only {methods[0]}"
            )

    def sha256(self, *parts: str) -> dict[str, str]:
        """The digest of each file, or of these parts' files."""
        files = self.manifest["files"]
        wanted = [f"{part}.safetensors" for part in parts or self.modules()]
        return {name: files[name]["sha256"] for name in sorted(wanted)}


def save_baselines(
    folder: str | Path,
    modules: dict[str, nn.Module],
    config: BaselinesConfig,
    metrics: dict[str, Any],
    encoder_id: str,
    *,
    precision: Precision = "float16",
    cloned: IQLConfig | None = None,
) -> None:
    """Write parts, by their names, atomically, as trained on codes of the encoder ``encoder_id``.

    ``cloned``: settings that "gcbc" was trained with, needed where it is among the parts. An
    existing folder is replaced; after a kill either the old or the new one is there.
    """
    contents = {
        part: serialise(modules[part], precision, encoder_id) for part in PARTS if part in modules
    }
    fields = {"precision": precision, "config": to_dict(config), "metrics": metrics}
    if cloned is not None:
        fields[CLONED] = to_dict(cloned)
    for part, module in modules.items():
        fields[LATENT] = list(module.latent)
        if part == "gcbc":
            fields[ACTIONS] = module.outputs
    FORMAT.write(Path(folder), contents, encoder_id, fields)


def load_baselines(
    folder: str | Path, encoder_id: str, device: str | torch.device = "cpu"
) -> Baselines:
    """Read and verify networks for the encoder ``encoder_id``.

    Raises CheckpointError, one line with cause and cure, for a missing, truncated or altered
    file, another encoder, another format version, or weights that do not fit the configuration.
    """
    folder = Path(folder)
    source, manifest = FORMAT.read_manifest(folder)
    trained_on = manifest["encoder_id"]
    if trained_on != encoder_id:
        raise CheckpointError(
            f"{source}: trained on another encoder ({trained_on[:8]} instead of "
            f"{encoder_id[:8]}); train baselines for this checkpoint with {FORMAT.command}"
        )
    name = str(source / FORMAT.manifest)
    cloned = None
    try:
        config = from_dict(BaselinesConfig, manifest["config"], source=name)
        if CLONED in manifest:
            cloned = from_dict(IQLConfig, manifest[CLONED], source=name)
    except ConfigError as error:
        raise CheckpointError(f"{error}; the baselines are of another version") from error
    loaded = Baselines(folder, manifest, config, cloned=cloned)
    for part in PARTS:
        if f"{part}.safetensors" in manifest["files"]:
            try:
                module = _empty(part, config, cloned, manifest)
            except (TypeError, ValueError, RuntimeError) as error:
                raise CheckpointError(
                    f"{name}: {LATENT} or {ACTIONS} are no sizes ({error}); restore the folder"
                ) from error
            FORMAT.load_part(source, part, module, manifest)
            setattr(loaded, part, module.to(device).eval().requires_grad_(False))
    return loaded


def _empty(
    part: str, config: BaselinesConfig, cloned: IQLConfig | None, manifest: dict[str, Any]
) -> nn.Module:
    sizes = [*manifest.get(LATENT, VQVAEConfig().latent), manifest.get(ACTIONS, len(CARTESIAN))]
    latent, actions = LatentShape(*sizes[:-1]), sizes[-1]
    if part == "vae":
        return LatentVAE(config.vae, latent)
    if part == "midpoints":
        return MidpointGenerator(config.midpoints, latent)
    return IQL(cloned, latent, actions).policy
