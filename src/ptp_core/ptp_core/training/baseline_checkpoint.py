# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the baselines, which share networks with a PTP checkpoint.

Each has one network of its own. Encoder, policy and value are those of the PTP checkpoint. The
manifest refers to them by relative path where it can; otherwise they are copied.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ptp_core.agents.registry import method_named
from ptp_core.config import BaselinesConfig, TrainConfig
from ptp_core.training.checkpoint import Checkpoint, Part, save_checkpoint

OWN_PART = {"leap": "latent_vae", "gcp": "midpoints", "gcbc": "policy"}  # of each baseline


def baseline(name: str, own: Part, config: BaselinesConfig, base: Checkpoint) -> Checkpoint:
    """Make the checkpoint of the method ``name``: its ``own`` network and those of ``base``.

    ``config`` has its planner's settings. Raises CheckpointError where ``base`` lacks a part.
    """
    method = method_named(name)
    entries = dataclasses.fields(TrainConfig)
    values: dict[str, Any] = {entry.name: getattr(base.config, entry.name) for entry in entries}
    if method.config is not TrainConfig:
        values[name] = getattr(config, name)
    shared = [part for part in method.parts if part != OWN_PART[name]]
    for part in shared:
        base.part(part)
    parts = {OWN_PART[name]: own, **{part: base.parts[part] for part in shared}}
    spec = dataclasses.replace(base.spec, agent=name)
    return Checkpoint(
        base.folder, spec, method.config(**values), base.encoder, parts, base.encoder_id
    )


def save_baseline(folder: str | Path, made: Checkpoint) -> None:
    """Write such a checkpoint, atomically, with references to shared networks."""
    stored = None if made.encoder is None else made.encoder.stored
    save_checkpoint(
        folder,
        made.parts,
        made.config,
        made.metrics,
        spec=made.spec,
        encoder=made.encoder,
        encoder_at=None if stored is None else stored.path.parent,
        shared={name: part.stored for name, part in made.parts.items() if part.stored},
    )
