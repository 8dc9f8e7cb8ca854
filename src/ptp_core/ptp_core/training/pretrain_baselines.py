# SPDX-License-Identifier: Apache-2.0
"""Train the baselines' networks on the data and with the encoder of a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ptp_core.config import BaselinesConfig, to_dict
from ptp_core.data.dataset import Dataset
from ptp_core.data.demonstrations import encoded_demonstrations
from ptp_core.data.encoded import EncodedDataset
from ptp_core.data.files import write_atomically
from ptp_core.data.outputs import check_new_folder, reserved_folder
from ptp_core.data.provenance import keep_inputs
from ptp_core.errors import ConfigError, DatasetError
from ptp_core.progress import Bar
from ptp_core.training.baseline_stages import train_latent_vae, train_midpoints
from ptp_core.training.baselines import (
    FORMAT,
    PART_OF,
    PARTS,
    Baselines,
    load_baselines,
    save_baselines,
)
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_core.training.cloning_stage import train_gcbc
from ptp_core.training.device import choose_device
from ptp_core.training.weights import Precision

CODES = "codes.safetensors"
INPUTS = "inputs.json"  # what the run in a folder was made from


def pretrain_baselines(
    config: BaselinesConfig,
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    only: Collection[str] = tuple(PART_OF),
    precision: Precision = "float16",
    progress: bool = True,
) -> Path:
    """Train LEAP's VAE, GCP's midpoint generator, GCBC's policy; the folder ``out``/baselines.

    ``only``: methods ("leap", "gcp", "gcbc") to train for; networks of the others that are in
    ``out``/baselines stay as they are. ``data`` is a data set, whose codes are kept in ``out``, or
    the codes.safetensors of the same encoder. The checkpoint's fraction of the trajectories is
    trained on, the rest validates. ``out`` also holds one folder a network (state, scalars.csv,
    TensorBoard events), config.yaml, inputs.json and metrics.json. Run again with the same folders
    to resume: finished networks are kept, and one goes on where its budget is longer.
    Raises KeyboardInterrupt after saving on Ctrl-C, ConfigError for an unknown method,
    DatasetError, CheckpointError, also for a network of other settings, which it names, and
    InputError where ``out`` cannot be made, is in use, or was made from other data.
    """
    if unknown := [name for name in only if name not in PART_OF]:
        raise ConfigError(f'no baseline "{unknown[0]}"; there are {", ".join(PART_OF)}')
    wanted = {PART_OF[name] for name in only}
    out, data = Path(out), Path(data)
    check_new_folder(out)
    loaded = load_checkpoint(checkpoint, choose_device(config.device))
    if data.suffix != ".safetensors":
        Dataset(data)  # named before anything is made
    with reserved_folder(out):
        return _train(config, loaded, data, out, wanted, precision, progress)


def _train(
    config: BaselinesConfig,
    loaded: Checkpoint,
    data: Path,
    out: Path,
    wanted: set[str],
    precision: Precision,
    progress: bool,
) -> Path:
    """The ``wanted`` networks one after the other; the folder ``out``/baselines."""
    folder = out / "baselines"
    kept = _kept(folder, loaded, wanted)
    if kept is not None:
        config = _with_sizes_of(kept, config, wanted)
    encoded = _encoded(data, loaded, out / CODES, progress)
    inputs = {
        "seed": config.seed,
        "training_fraction": loaded.config.data.training_fraction,
        "encoder_id": loaded.encoder_id,
        "data": encoded.content_hash(),
    }
    keep_inputs(out / INPUTS, inputs, "name another --out, or the inputs of this one")
    text = yaml.safe_dump(to_dict(config), sort_keys=False)
    write_atomically(out / "config.yaml", lambda path: path.write_text(text))
    training, validation = encoded.split(loaded.config.data.training_fraction)
    common: dict[str, Any] = {"validation": validation, "progress": progress}
    modules: dict[str, nn.Module] = {}
    metrics: dict[str, Any] = {}
    if kept is not None:
        modules = {part: net for part, net in kept.modules().items() if part not in wanted}
        metrics = {part: kept.manifest["metrics"].get(part, {}) for part in modules}
    if "vae" in wanted:
        modules["vae"], metrics["vae"] = train_latent_vae(
            config, loaded.vqvae, training, out / "vae", **common
        )
    if "midpoints" in wanted:
        modules["midpoints"], metrics["midpoints"] = train_midpoints(
            config, loaded.vqvae, training, out / "midpoints", **common
        )
    cloned = kept.cloned if kept is not None and "gcbc" in modules else None
    if "gcbc" in wanted:
        cloned = loaded.config.iql
        modules["gcbc"], metrics["gcbc"] = train_gcbc(
            config, loaded, training, out / "gcbc", **common
        )
    metrics = {part: metrics[part] for part in PARTS if part in metrics}
    metrics |= {"trajectories": len(encoded.lengths), "frames": len(encoded.codes)}
    text = json.dumps(metrics, indent=2) + "\n"
    write_atomically(out / "metrics.json", lambda path: path.write_text(text))
    save_baselines(
        folder, modules, config, metrics, loaded.encoder_id, precision=precision, cloned=cloned
    )
    return folder


def _kept(folder: Path, checkpoint: Checkpoint, wanted: set[str]) -> Baselines | None:
    """Networks of an earlier training, None where all are trained now. Raises CheckpointError."""
    if wanted == set(PARTS) or not (folder / FORMAT.manifest).is_file():
        return None
    return load_baselines(folder, checkpoint.encoder_id, choose_device("cpu"))


def _with_sizes_of(kept: Baselines, config: BaselinesConfig, wanted: set[str]) -> BaselinesConfig:
    """``config``, but with the settings of the networks that stay as they are."""
    stay = {part for part in ("vae", "midpoints") if part in kept.modules()} - wanted
    return dataclasses.replace(config, **{part: getattr(kept.config, part) for part in stay})


def _encoded(source: Path, checkpoint: Checkpoint, kept: Path, progress: bool) -> EncodedDataset:
    if source.suffix == ".safetensors":
        encoded = EncodedDataset.load(source)
        if encoded.encoder_id != checkpoint.encoder_id:
            raise DatasetError(
                f"{source}: codes of another encoder ({encoded.encoder_id[:8]} instead of "
                f"{checkpoint.encoder_id[:8]}); name the data set, it is encoded again"
            )
        return encoded
    with Bar(unit="image", desc="encode", disable=not progress) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return encoded_demonstrations(source, checkpoint, kept, show)
