# SPDX-License-Identifier: Apache-2.0
"""Train the baselines' networks on the data and with the encoder of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from tqdm import tqdm

from ptp_core.config import BaselinesConfig, to_dict
from ptp_core.data.demonstrations import encoded_demonstrations
from ptp_core.data.encoded import EncodedDataset
from ptp_core.data.files import write_atomically
from ptp_core.errors import DatasetError
from ptp_core.training.baseline_stages import train_latent_vae, train_midpoints
from ptp_core.training.baselines import save_baselines
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_core.training.device import choose_device
from ptp_core.training.weights import Precision

CODES = "codes.safetensors"


def pretrain_baselines(
    config: BaselinesConfig,
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    precision: Precision = "float16",
    progress: bool = True,
) -> Path:
    """Train LEAP's VAE and GCP's midpoint generator; return the folder ``out``/baselines.

    ``data`` is a data set, whose codes are kept in ``out``, or the codes.safetensors of the same
    encoder. The checkpoint's fraction of the trajectories is trained on, the rest validates.
    ``out`` also holds one folder a network (state, scalars.csv, TensorBoard events), config.yaml
    and metrics.json. Run again with the same folders to resume: finished networks are kept, one
    whose settings or inputs changed starts again.
    Raises KeyboardInterrupt after saving on Ctrl-C, CheckpointError and DatasetError.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(to_dict(config), sort_keys=False)
    write_atomically(out / "config.yaml", lambda path: path.write_text(text))
    loaded = load_checkpoint(checkpoint, choose_device(config.device))
    encoded = _encoded(Path(data), loaded, out / CODES, progress)
    training, validation = encoded.split(loaded.config.data.training_fraction)
    common = {"validation": validation, "progress": progress}
    vae, vae_metrics = train_latent_vae(config, loaded.vqvae, training, out / "vae", **common)
    midpoints, midpoint_metrics = train_midpoints(
        config, loaded.vqvae, training, out / "midpoints", **common
    )
    metrics = {
        "vae": vae_metrics,
        "midpoints": midpoint_metrics,
        "trajectories": len(encoded.lengths),
        "frames": len(encoded.codes),
    }
    text = json.dumps(metrics, indent=2) + "\n"
    write_atomically(out / "metrics.json", lambda path: path.write_text(text))
    modules = {"vae": vae, "midpoints": midpoints}
    folder = out / "baselines"
    save_baselines(folder, modules, config, metrics, loaded.encoder_id, precision=precision)
    return folder


def _encoded(source: Path, checkpoint: Checkpoint, kept: Path, progress: bool) -> EncodedDataset:
    if source.suffix == ".safetensors":
        encoded = EncodedDataset.load(source)
        if encoded.encoder_id != checkpoint.encoder_id:
            raise DatasetError(
                f"{source}: codes of another encoder ({encoded.encoder_id[:8]} instead of "
                f"{checkpoint.encoder_id[:8]}); name the data set, it is encoded again"
            )
        return encoded
    with tqdm(unit="image", desc="encode", disable=not progress) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return encoded_demonstrations(source, checkpoint, kept, show)
