# SPDX-License-Identifier: Apache-2.0
"""Train the networks of the baselines with the encoder of a PTP checkpoint, and save them.

Each baseline has one network of its own. Encoder, policy and value are those of the PTP
checkpoint. The manifest refers to them by relative path where it can; otherwise they are copied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ptp_core.agents.registry import method_named
from ptp_core.config import BaselinesConfig, TrainConfig
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.files import check_new_folder, reserved_folder
from ptp_core.errors import ConfigError
from ptp_core.policies.cloned_policy import ClonedPolicy
from ptp_core.training.baseline_stage import train_gcbc, train_latent_vae, train_midpoints
from ptp_core.training.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ptp_core.training.stage import choose_device
from ptp_core.training.training_folder import add_metrics, begin_run, encoded_for
from ptp_core.training.weights import Precision

OWN_PART = {"leap": "latent_vae", "gcp": "midpoints", "gcbc": "policy"}  # of each baseline


def pretrain_baselines(
    config: BaselinesConfig,
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    only: Collection[str] = tuple(OWN_PART),
    precision: Precision = "float16",
    progress: bool = True,
) -> dict[str, Path]:
    """Train LEAP's VAE, GCP's midpoint generator, GCBC's policy; return each method's checkpoint.

    ``only``: methods ("leap", "gcp", "gcbc") to train for; the checkpoints are ``out``/METHOD, and
    those of the others stay as they are. ``data`` is a data set, whose codes are kept in ``out``,
    or the codes.safetensors of the same encoder. The checkpoint's fraction of the trajectories is
    trained on, the rest validates. ``out`` also holds one folder a network (state, scalars.csv,
    TensorBoard events), config.yaml, inputs.json and metrics.json. Run again with the same folders
    to resume: finished networks are kept, and one goes on where its budget is longer.
    Raises KeyboardInterrupt after saving on Ctrl-C, ConfigError for an unknown method,
    DatasetError, CheckpointError, also for a network of other settings, which it names, and
    InputError where ``out`` cannot be made, is in use, or was made from other data.
    """
    if unknown := [name for name in only if name not in OWN_PART]:
        raise ConfigError(f'no baseline "{unknown[0]}"; there are {", ".join(OWN_PART)}')
    wanted = [name for name in OWN_PART if name in only]
    out, data = Path(out), Path(data)
    check_new_folder(out)
    loaded = load_checkpoint(checkpoint, choose_device(config.device))
    if data.suffix != ".safetensors":
        Dataset(data)  # raises before anything is written
    with reserved_folder(out):
        return _train(config, loaded, data, out, wanted, precision, progress)


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


def _train(
    config: BaselinesConfig,
    loaded: Checkpoint,
    data: Path,
    out: Path,
    wanted: Sequence[str],
    precision: Precision,
    progress: bool,
) -> dict[str, Path]:
    """Train the networks of the ``wanted`` methods; return their checkpoints' folders."""
    encoded = encoded_for(loaded, data, out, progress)
    inputs = {
        "seed": config.seed,
        "training_fraction": loaded.config.data.training_fraction,
        "encoder_id": loaded.encoder_id,
        "data": encoded.content_hash(),
    }
    begin_run(out, inputs, config)
    training, validation = encoded.split(loaded.config.data.training_fraction)
    common: dict[str, Any] = {"validation": validation, "progress": progress}
    counts = {"trajectories": len(encoded.lengths), "frames": len(encoded.codes)}
    folders: dict[str, Path] = {}
    for name in wanted:
        own, metrics = _own_part(name, config, loaded, training, out, common)
        own.precision = precision
        made = baseline(name, own, config, loaded)
        made.metrics = {OWN_PART[name]: metrics, **counts}
        folders[name] = out / name
        save_baseline(folders[name], made)
        add_metrics(out, made.metrics)
    return folders


def _own_part(
    name: str,
    config: BaselinesConfig,
    loaded: Checkpoint,
    training: EncodedDataset,
    out: Path,
    common: dict[str, Any],
) -> tuple[Part, dict[str, float]]:
    """Train the network that only this method has, in ``out``/PART; return it and last scalars."""
    part = OWN_PART[name]
    folder = out / part
    if part == "latent_vae":
        network, metrics = train_latent_vae(config, loaded.vqvae, training, folder, **common)
        return Part(part, network, config.vae), metrics
    if part == "midpoints":
        network, metrics = train_midpoints(config, loaded.vqvae, training, folder, **common)
        return Part(part, network, config.midpoints), metrics
    settings = loaded.config.iql
    learned, metrics = train_gcbc(config, loaded, training, folder, **common)
    cloned = ClonedPolicy(settings, loaded.vqvae.latent, len(loaded.actions))
    cloned.load_state_dict(learned.state_dict())
    return Part(part, cloned, settings), metrics
