# SPDX-License-Identifier: Apache-2.0
"""Train the goal classifier of a checkpoint again, on other demonstrations, and what needs it.

Encoder, generators and policies stay as they are. Demonstrations of another robot or place, or
with repeats, tell the classifier how results of the same work may differ there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ptp_core.config import TrainConfig
from ptp_core.data.dataset import Dataset
from ptp_core.data.files import check_new_folder, reserved_folder
from ptp_core.errors import ConfigError
from ptp_core.training.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ptp_core.training.classifier_stage import (
    train_goal_classifier,
    train_single_legs,
    train_tolerance,
)
from ptp_core.training.stage import choose_device
from ptp_core.training.training_folder import begin_run, encoded_for, save_metrics
from ptp_core.training.weights import Precision

CLASSIFIERS = ("classifier", "strict_classifier")


def retrain_classifier(
    config: TrainConfig,
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    precision: Precision = "float16",
    progress: bool = True,
) -> Path:
    """Train ``config.classifier``, ``tolerance``, ``single_legs``; return the checkpoint's folder.

    The planner of legs gets ``config.legs``.
    ``data`` is a data set, whose codes are kept in ``out``, or the codes.safetensors of the same
    encoder. The checkpoint in ``out`` holds all networks of the given one, and the new ones.
    ``out`` also holds one folder a stage, config.yaml, inputs.json and metrics.json. Run again
    with the same folders to resume.
    Raises KeyboardInterrupt after saving on Ctrl-C, ConfigError where the classifier has no steps,
    DatasetError, CheckpointError for a checkpoint without generators, and InputError where ``out``
    cannot be made, is in use, or was made from other inputs.
    """
    if not config.classifier.steps:
        raise ConfigError("classifier.steps is 0, which leaves the classifier out: give it steps")
    out, data = Path(out), Path(data)
    check_new_folder(out)
    loaded = load_checkpoint(checkpoint, choose_device(config.device))
    if config.tolerance.steps or config.single_legs.steps:
        loaded.part("generators")  # raises before anything is written
    if data.suffix != ".safetensors":
        Dataset(data)
    with reserved_folder(out):
        return _train(config, loaded, data, out, precision, progress)


def _train(
    config: TrainConfig,
    loaded: Checkpoint,
    data: Path,
    out: Path,
    precision: Precision,
    progress: bool,
) -> Path:
    encoded = encoded_for(loaded, data, out, progress)
    fraction = config.data.training_fraction
    inputs = {
        "seed": config.seed,
        "training_fraction": fraction,
        "encoder_id": loaded.encoder_id,
        "data": encoded.content_hash(),
    }
    # The generators that show ends, and what they were trained with, are the checkpoint's.
    config = dataclasses.replace(config, generators=loaded.config.generators)
    begin_run(out, inputs, config)
    training, validation = encoded.split(fraction)
    common = {"validation": validation, "progress": progress}
    metrics = {}
    network, metrics["classifier"] = train_goal_classifier(
        config, loaded.vqvae, training, out / "classifier", **common
    )
    parts = {name: part for name, part in loaded.parts.items() if name not in CLASSIFIERS}
    parts["classifier"] = Part("classifier", network, config.classifier, precision)
    if config.tolerance.steps:
        given = (loaded.vqvae, loaded.generators, network, training, out / "tolerance")
        network, metrics["tolerance"] = train_tolerance(config, *given, **common)
        parts["strict_classifier"] = parts["classifier"]
        parts["classifier"] = Part("classifier", network, config.classifier, precision)
    if config.single_legs.steps:
        given = (loaded.vqvae, loaded.generators, network, training, out / "single_legs")
        single, metrics["single_legs"] = train_single_legs(config, *given, **common)
        parts["single_legs"] = Part("single_legs", single, config.single_legs, precision)
    save_metrics(out, metrics)
    trained = ("classifier", "tolerance", "single_legs")
    # The planner's margins and prices go with the networks that it asks.
    own = {name: getattr(config, name) for name in (*trained, "legs")}
    counts = {"trajectories": len(encoded.lengths), "frames": len(encoded.codes)}
    metrics["classifier"] = {**metrics["classifier"], **counts}
    save_checkpoint(
        out / "checkpoint",
        parts,
        dataclasses.replace(loaded.config, **own),
        {**loaded.metrics, **metrics},
        spec=loaded.spec,
        encoder=loaded.encoder,
    )
    return out / "checkpoint"
