# SPDX-License-Identifier: Apache-2.0
"""The files of an offline training beside its stages: inputs, settings, codes and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ptp_core.config import to_dict
from ptp_core.data.encoded_dataset import EncodedDataset, encoded_demonstrations
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import keep_inputs, write_atomically
from ptp_core.errors import CheckpointError, DatasetError
from ptp_core.progress import Bar

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint

CODES = "codes.safetensors"
INPUTS = "inputs.json"  # what the networks were made from
CONFIG = "config.yaml"
METRICS = "metrics.json"


def begin_run(out: Path, inputs: Mapping[str, Any], config: Any) -> None:
    """Note ``inputs`` and ``config``; InputError where ``out`` was made from other inputs."""
    keep_inputs(out / INPUTS, inputs, "name another --out, or the inputs of this one")
    save_config(out, config)


def encoded_for(checkpoint: Checkpoint, source: Path, out: Path, progress: bool) -> EncodedDataset:
    """Codes of ``source``: a data set, encoded once and kept in ``out``, or a file of codes.

    Raises DatasetError for codes of another encoder than the checkpoint's.
    """
    if source.suffix == ".safetensors":
        encoded = EncodedDataset.load(source)
        if encoded.encoder_id != checkpoint.encoder_id:
            raise DatasetError(
                f"{source}: codes of another encoder ({encoded.encoder_id[:8]} instead of "
                f"{checkpoint.encoder_id[:8]}); name the data set, it is encoded again"
            )
        return encoded
    with Bar(unit="image", desc="encode", disable=not progress) as bar:
        return encoded_demonstrations(source, checkpoint, out / CODES, bar.show)


def save_config(out: Path, config: Any) -> None:
    """Write the settings, a dataclass, as YAML."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False)
    write_atomically(out / CONFIG, lambda path: path.write_text(text))


def save_metrics(out: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics`` as JSON, in place of earlier ones."""
    text = json.dumps(metrics, indent=2) + "\n"
    write_atomically(out / METRICS, lambda path: path.write_text(text, encoding="utf-8"))


def add_metrics(out: Path, metrics: Mapping[str, Any]) -> None:
    """Add ``metrics`` to earlier ones. Raises CheckpointError where these are damaged."""
    path = out / METRICS
    try:
        earlier = load_json(path) if path.exists() else {}
        merged = {**earlier, **metrics}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); delete it") from error
    save_metrics(out, merged)
