# SPDX-License-Identifier: Apache-2.0
"""Train the classifiers of a checkpoint again, on other demonstrations.

Encoder, generators and policies stay as they are. Demonstrations of another robot or place, or
with repeats, tell the goal classifier how results of the same work may differ there. Each of the
three stages needs those before it, which may be the checkpoint's own.
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

STAGES = ("classifier", "tolerance", "single_legs")


def retrain_classifier(
    config: TrainConfig,
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    start: str = "classifier",
    precision: Precision = "float16",
    progress: bool = True,
) -> Path:
    """Train the sections of ``config`` named in `STAGES`; return the checkpoint's folder.

    ``start``: the first of them; what the ones before it train is the checkpoint's. The planner
    of legs gets ``config.legs``.
    ``data`` is a data set, whose codes are kept in ``out``, or the codes.safetensors of the same
    encoder. The checkpoint in ``out`` holds all networks of the given one, and the new ones.
    ``out`` also holds one folder a stage, config.yaml, inputs.json and metrics.json. Run again
    with the same folders to resume.
    Raises KeyboardInterrupt after saving on Ctrl-C, ConfigError where the first stage has no
    steps, DatasetError, CheckpointError for a checkpoint without generators or an earlier
    classifier, and InputError where ``out`` cannot be made, is in use, or was made from other
    inputs.
    """
    if not getattr(config, start).steps:
        raise ConfigError(f"{start}.steps is 0, which leaves this stage out: give it steps")
    out, data = Path(out), Path(data)
    check_new_folder(out)
    loaded = load_checkpoint(checkpoint, choose_device(config.device))
    if config.tolerance.steps or config.single_legs.steps:
        loaded.part("generators")  # raises before anything is written
    if start != "classifier":
        loaded.part("classifier")
    if data.suffix != ".safetensors":
        Dataset(data)
    with reserved_folder(out):
        return _train(config, loaded, data, out, start, precision, progress)


def _train(
    config: TrainConfig,
    loaded: Checkpoint,
    data: Path,
    out: Path,
    start: str,
    precision: Precision,
    progress: bool,
) -> Path:
    encoded = encoded_for(loaded, data, out, progress)
    fraction = config.data.training_fraction
    inputs = {
        "seed": config.seed,
        "training_fraction": fraction,
        "encoder_id": loaded.encoder_id,
        "start": start,
        "data": encoded.content_hash(),
    }
    # The generators that show ends, and what they were trained with, are the checkpoint's.
    config = dataclasses.replace(config, generators=loaded.config.generators)
    begin_run(out, inputs, config)
    training, validation = encoded.split(fraction)
    common = {"validation": validation, "progress": progress}
    metrics = {}
    parts, stages = dict(loaded.parts), STAGES[STAGES.index(start) :]
    if "classifier" in stages:
        network, metrics["classifier"] = train_goal_classifier(
            config, loaded.vqvae, training, out / "classifier", **common
        )
        parts["classifier"] = Part("classifier", network, config.classifier, precision)
        parts.pop("strict_classifier", None)
    if "tolerance" in stages and config.tolerance.steps:
        strict = parts.get("strict_classifier", parts["classifier"])
        given = (loaded.vqvae, loaded.generators, strict.module, training, out / "tolerance")
        network, metrics["tolerance"] = train_tolerance(config, *given, **common)
        parts["strict_classifier"] = strict
        parts["classifier"] = dataclasses.replace(strict, module=network, precision=precision)
    if config.single_legs.steps:
        classifiers = parts["classifier"], parts.get("strict_classifier", parts["classifier"])
        given = (loaded.vqvae, loaded.generators, *(part.module for part in classifiers), training)
        network, metrics["single_legs"] = train_single_legs(
            config, *given, out / "single_legs", **common
        )
        parts["single_legs"] = Part("single_legs", network, config.single_legs, precision)
    save_metrics(out, metrics)
    # The planner's margins and prices go with the networks that it asks.
    own = {name: getattr(config, name) for name in (*stages, "legs")}
    counts = {"trajectories": len(encoded.lengths), "frames": len(encoded.codes)}
    metrics[start] = {**metrics[start], **counts}
    save_checkpoint(
        out / "checkpoint",
        parts,
        dataclasses.replace(loaded.config, **own),
        {**loaded.metrics, **metrics},
        spec=loaded.spec,
        encoder=loaded.encoder,
    )
    return out / "checkpoint"
