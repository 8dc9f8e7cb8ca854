# SPDX-License-Identifier: Apache-2.0
"""The networks of the methods that PTP is compared with, trained on one checkpoint's encoder.

baselines.json           format, version, encoder id, configuration, metrics, sha256 of each file
vae.safetensors          LEAP's VAE of latents
midpoints.safetensors    GCP's midpoint generator
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptp_core.config import BaselinesConfig, from_dict, to_dict
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.models.latent_vae import LatentVAE
from ptp_core.models.midpoint_generator import MidpointGenerator
from ptp_core.training.weights import Precision, WeightsFormat, serialise

PARTS = ("vae", "midpoints")
FORMAT = WeightsFormat(
    name="ptp-baselines",
    version=1,
    parts=PARTS,
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
    vae: LatentVAE
    midpoints: MidpointGenerator

    @property
    def sha256(self) -> dict[str, str]:
        """The digest of each file."""
        files = self.manifest["files"]
        return {name: files[name]["sha256"] for name in sorted(files)}


def save_baselines(
    folder: str | Path,
    modules: dict[str, nn.Module],
    config: BaselinesConfig,
    metrics: dict[str, Any],
    encoder_id: str,
    *,
    precision: Precision = "float16",
) -> None:
    """Write "vae" and "midpoints" atomically, as trained on codes of the encoder ``encoder_id``.

    An existing folder is replaced; after a kill either the old or the new one is there.
    """
    contents = {part: serialise(modules[part], precision, encoder_id) for part in PARTS}
    fields = {"precision": precision, "config": to_dict(config), "metrics": metrics}
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
    try:
        config = from_dict(
            BaselinesConfig, manifest["config"], source=str(source / FORMAT.manifest)
        )
    except ConfigError as error:
        raise CheckpointError(f"{error}; the baselines are of another version") from error
    vae, midpoints = LatentVAE(config.vae), MidpointGenerator(config.midpoints)
    for part, module in {"vae": vae, "midpoints": midpoints}.items():
        FORMAT.load_part(source, part, module, manifest)
        module.to(device).eval().requires_grad_(False)
    return Baselines(folder, manifest, config, vae, midpoints)
