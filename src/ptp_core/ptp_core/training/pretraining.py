# SPDX-License-Identifier: Apache-2.0
"""Offline training: check the data, run all stages, write a checkpoint.

Every stage can resume.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ptp_core.agents.ptp import fitting_method
from ptp_core.agents.subgoal_agent import subgoal_spec
from ptp_core.config import TrainConfig
from ptp_core.data.coverage import read_cells
from ptp_core.data.dataset import Dataset, DatasetArrays, split_count
from ptp_core.data.encoded_dataset import (
    MOVING,
    EncodedDataset,
    cache_key,
    check_images,
    encode_dataset,
    latent_distances,
)
from ptp_core.data.files import check_new_folder, reserved_folder
from ptp_core.data.trajectory import action_names, speed_of
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError
from ptp_core.progress import Bar
from ptp_core.training.background_stage import in_background
from ptp_core.training.checkpoint import Part, save_checkpoint
from ptp_core.training.chunked_stage import train_chunked_policy
from ptp_core.training.classifier_stage import (
    train_goal_classifier,
    train_single_legs,
    train_tolerance,
)
from ptp_core.training.iql_stage import train_iql, train_on_generated_goals
from ptp_core.training.stage import choose_device, without_budget
from ptp_core.training.subgoal_stage import frames_needed, shown_legs, train_generators
from ptp_core.training.training_curves import CurvePanel, plot_curves
from ptp_core.training.training_folder import CODES, begin_run, save_config, save_metrics
from ptp_core.training.vqvae_stage import train_vqvae
from ptp_core.training.weights import serialise

AIM = 0.8  # norm that the fastest motion should have with a suggested action scale

DISTANCE_GAPS = (1, 2, 3, 4, 8, 15)  # control steps; recorded in the metrics

POLICY_STAGES = {"IQL": "iql", "imagined goals": "imagined"}  # label to folder
PANELS = (
    CurvePanel("VQ-VAE: weighted reconstruction error", "weighted_mse", {"VQ-VAE": "vqvae"}),
    CurvePanel(
        "Subgoal generators: SmoothL1",
        "smooth_l1",
        {name: f"generators/{name}" for name in ("dt60", "dt30", "dt15")},
    ),
    CurvePanel("Policy: error of the action", "policy/action_mse", POLICY_STAGES),
    CurvePanel("V: mean over the batch", "value/mean", POLICY_STAGES, log=False),
)


def check_trainable(
    config: TrainConfig,
    lengths: np.ndarray,
    speeds: np.ndarray,
    gaps: Iterable[int],
    where: Path,
    description: dict[str, Any],
) -> None:
    """Raise DatasetError where the stages could not learn from these trajectories.

    ``lengths`` (N,) and ``speeds`` (frames,), from `speed_of`, are those of the data set at
    ``where``. ``gaps`` are the steps over which distances of moving frames are measured.
    ``description`` is the data set's description of its origin.
    """
    if (lengths < 2).any():
        number = int(np.flatnonzero(lengths < 2)[0])
        raise DatasetError(
            f"{where}: trajectory {number} has {lengths[number]} step, which leads nowhere: two "
            "are needed; import it again with --min-steps 2 or more"
        )
    count = split_count(len(lengths), config.data.training_fraction)
    _check_motion(lengths[:count], speeds[: lengths[:count].sum()], gaps, where, description)
    for part, some in (("trained on", lengths[:count]), ("validated with", lengths[count:])):
        for name in config.generators.horizons:
            needed = frames_needed(getattr(config.generators, name))
            if not (some >= needed).any():
                raise DatasetError(
                    f"{where}: the longest of the {len(some)} trajectories that are {part} has "
                    f"{some.max()} frames, the subgoal generator {name} needs {needed}: collect "
                    f"longer ones, or lower generators.{name} in the configuration"
                )


def pretrain(
    config: TrainConfig,
    data_folder: str | Path,
    out: str | Path,
    *,
    precision: Literal["float32", "float16"] = "float32",
    progress: bool = True,
) -> Path:
    """Train encoder, subgoal generators and policies; return the checkpoint's folder.

    ``out`` holds one folder a stage (state, scalars.csv, TensorBoard events), codes.safetensors,
    config.yaml, inputs.json, metrics.json, curves.png and checkpoint/. Run again with the same
    folders to resume: finished stages are kept, and a stage with a longer budget continues. A
    stage starts again where an earlier one has continued. A stage with 0 steps is left out.
    The checkpoint's agent is the method whose plans the planner's settings describe, else ptp;
    without IQL it is ptp_legs.
    Raises KeyboardInterrupt after saving on Ctrl-C; DatasetError and ConfigError, before ``out``
    is made, where the data cannot be learned from, or their images are not of
    ``config.vqvae.image_size``; InputError where ``out`` cannot be made, is in use, or was made
    from other data or settings, which it names.
    """
    out = Path(out)
    check_new_folder(out)
    device = choose_device(config.device)
    dataset = Dataset(data_folder)
    arrays = _load(dataset, progress)
    check_images(arrays.main_camera, arrays.camera(), config.vqvae.image_size)
    config.vqvae.latent.halved_twice("a subgoal generator")  # raises before the encoder is trained
    where = Path(data_folder)
    gaps = {*_gaps(config), config.vqvae.distance_steps}
    speeds = speed_of(arrays.actions, arrays.action_channels)
    check_trainable(config, arrays.lengths, speeds, gaps, where, dataset.description)
    with reserved_folder(out):
        begin_run(out, _inputs(config, arrays), config)
        return _train(config, dataset, arrays, out, device, precision, progress)


def settle(config: TrainConfig, distances: dict[int, np.ndarray]) -> TrainConfig:
    """Replace "auto" distances by those measured on the encoded data."""
    iql, follower = config.iql, config.follower
    if iql.reward_epsilon == "auto":
        epsilon = float(np.median(distances[iql.reward_epsilon_steps]))
        iql = dataclasses.replace(iql, reward_epsilon=round(epsilon, 4))
    if follower.distance_threshold == "auto":
        follower = dataclasses.replace(follower, distance_threshold=iql.reward_epsilon)
    return dataclasses.replace(config, iql=iql, follower=follower)


def _check_motion(
    lengths: np.ndarray,
    speeds: np.ndarray,
    gaps: Iterable[int],
    where: Path,
    description: dict[str, Any],
) -> None:
    ends = np.cumsum(lengths)
    for gap in gaps:
        fastest = _fastest(speeds, ends - lengths, ends, gap)
        if fastest is None:
            raise DatasetError(
                f"{where}: the longest trajectory has {lengths.max()} frames; distances are "
                f"measured between frames {gap} steps apart: collect or import longer ones"
            )
        if fastest < MOVING:
            scale = description.get("action_scale") or {}
            cure = "let the expert move faster"
            if description.get("source") == "bags" and "translation" in scale:
                now = float(scale["translation"])
                better = now * max(fastest, 1e-3) / AIM
                cure = (
                    f"import again with translation: {better:.2g} in the mapping, it is {now:g}: "
                    "an action of 1 is then that many metres"
                )
            raise DatasetError(
                f"{where}: the arm moves too slowly for its action scale: over {gap} steps its "
                f"actions have a mean norm of {fastest:.2f} at most, {MOVING:g} counts as "
                f"motion; {cure}"
            )


def _fastest(speeds: np.ndarray, starts: np.ndarray, stops: np.ndarray, gap: int) -> float | None:
    """Largest mean of ``gap`` successive speeds in one trajectory; None: all are shorter."""
    sums = np.concatenate([[0.0], np.cumsum(speeds)])
    means = [
        float((sums[start + gap : stop] - sums[start : stop - gap]).max() / gap)
        for start, stop in zip(starts, stops, strict=True)
        if stop - start > gap
    ]
    return max(means, default=None)


def _train(
    config: TrainConfig,
    dataset: Dataset,
    arrays: DatasetArrays,
    out: Path,
    device: torch.device,
    precision: Literal["float32", "float16"],
    progress: bool,
) -> Path:
    """Run the stages in order; return the checkpoint's folder."""
    first, rest = arrays.split(config.data.training_fraction)

    vqvae, encoder_metrics = train_vqvae(
        config,
        first.camera(),
        out / "vqvae",
        validation=rest.camera(),
        content=first.fingerprint,
        device=device,
        progress=progress,
    )
    vqvae.requires_grad_(False)
    encoded = _encode(config, vqvae, arrays, out, progress)
    training, validation = encoded.split(config.data.training_fraction)
    distances = latent_distances(
        vqvae, training, _gaps(config), np.random.default_rng(config.seed)
    )
    config = settle(config, distances)
    save_config(out, config)

    common = {"validation": validation, "progress": progress}
    for_generators = (config, vqvae, training, out / "generators")
    for_cloning = (config, vqvae, training, out / "chunked")
    parts: dict[str, Part] = {}
    scalars: dict[str, dict[str, float]] = {}
    with ExitStack() as beside:
        if config.side_by_side:
            beside.enter_context(_threads(1))
            # Beside IQL the generators, which it does not need; without IQL the cloned policy,
            # which takes longest and which nothing waits for.
            other = (train_generators, *for_generators)
            if not config.iql.steps and config.chunked.steps:
                other = (train_chunked_policy, *for_cloning)
            beside.enter_context(in_background(*other, **common))
        if config.classifier.steps:
            classifier, scalars["classifier"] = train_goal_classifier(
                config, vqvae, training, out / "classifier", **common
            )
            parts["classifier"] = Part("classifier", classifier, config.classifier, precision)
        if config.iql.steps:
            iql, scalars["iql"] = train_iql(config, vqvae, training, out / "iql", **common)
            beside.close()
        generators, generator_metrics = train_generators(*for_generators, **common)
        if config.tolerance.steps:
            classifier, scalars["tolerance"] = train_tolerance(
                config,
                vqvae,
                generators,
                parts["classifier"].module,
                training,
                out / "tolerance",
                **common,
            )
            parts["strict_classifier"] = parts["classifier"]
            parts["classifier"] = dataclasses.replace(parts["classifier"], module=classifier)
        if config.single_legs.steps:
            classifiers = parts["classifier"], parts.get("strict_classifier", parts["classifier"])
            given = config, vqvae, generators, *(part.module for part in classifiers), training
            network, scalars["single_legs"] = train_single_legs(
                *given, out / "single_legs", **common
            )
            parts["single_legs"] = Part("single_legs", network, config.single_legs, precision)
        if "classifier" in parts:
            rng = np.random.default_rng(config.seed)
            legs = generators["dt60"], vqvae, training, config.generators.dt60, config.legs.shown
            shown = shown_legs(*legs, rng)
            parts["shown_legs"] = Part("shown_legs", shown, shown.config, precision)
    if config.chunked.steps:
        policy, scalars["chunked"] = train_chunked_policy(*for_cloning, **common)
        parts["chunked"] = Part("chunked", policy, config.chunked, precision)
    if config.imagined.steps:
        iql, scalars["imagined"] = train_on_generated_goals(
            config, vqvae, generators, iql, training, out / "imagined", **common
        )
    parts["generators"] = Part("generators", generators, config.generators, precision)
    if config.iql.steps:
        parts["iql"] = Part("iql", iql, config.iql, precision)
    metrics = {
        "vqvae": encoder_metrics,
        "generators": generator_metrics,
        **scalars,
        **_about(config, dataset, arrays, distances),
    }
    save_metrics(out, metrics)
    plot_curves(out, out / "curves.png", PANELS)
    actions = action_names(arrays.action_channels, arrays.actions.shape[1])
    save_checkpoint(
        out / "checkpoint",
        parts,
        config,
        metrics,
        spec=subgoal_spec(
            (fitting_method(config.planner) or "ptp") if config.iql.steps else "ptp_legs",
            vqvae,
            actions,
            proprioception=[channel.name for channel in arrays.proprioception_channels],
        ),
        encoder=Part("vqvae", vqvae, config.vqvae, precision),
    )
    return out / "checkpoint"


def _about(
    config: TrainConfig,
    dataset: Dataset,
    arrays: DatasetArrays,
    distances: dict[int, np.ndarray],
) -> dict[str, Any]:
    """What the metrics say of the data and of their latents."""
    found: dict[str, Any] = {
        "latent_distance": {
            str(gap): {
                name: round(float(np.percentile(values, percentile)), 4)
                for name, percentile in (("p10", 10), ("median", 50), ("p90", 90))
            }
            for gap, values in distances.items()
        },
        "reward_epsilon": config.iql.reward_epsilon,
        "trajectories": len(arrays.lengths),
        "frames": len(arrays.actions),
        "data": dataset.description,
    }
    if (cells := read_cells(dataset.folder)) is not None:
        found["coverage"] = cells  # by which an evaluation tells scenes that no data show
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gaps(config: TrainConfig) -> tuple[int, ...]:
    return tuple(sorted({*DISTANCE_GAPS, config.iql.reward_epsilon_steps}))


def _load(dataset: Dataset, progress: bool) -> DatasetArrays:
    with Bar(total=len(dataset), unit="trajectory", desc="load", disable=not progress) as bar:
        return dataset.load(bar.update)


def _encode(
    config: TrainConfig, vqvae: VQVAE, arrays: DatasetArrays, out: Path, progress: bool
) -> EncodedDataset:
    """Encode all frames, or reuse codes.safetensors of the same encoder and data.

    Applies ``vqvae.distance_scale`` to the network: the codes stay the same.
    """
    raw_id = hashlib.sha256(serialise(vqvae)).hexdigest()
    path = out / CODES
    encoded = None
    if path.exists():
        stored = EncodedDataset.load(path)
        if stored.key == cache_key(arrays.fingerprint, raw_id, [arrays.main_camera]):
            encoded = stored
    if encoded is None:
        with Bar(
            total=len(arrays.actions), unit="image", desc="encode", disable=not progress
        ) as bar:
            encoded = encode_dataset(vqvae, arrays, raw_id, bar.update)
        encoded.save(path)
    settings = config.vqvae
    if settings.distance_scale is not None:
        steps = settings.distance_steps
        rng = np.random.default_rng(config.seed)
        median = float(np.median(latent_distances(vqvae, encoded, (steps,), rng)[steps]))
        if median <= 0:
            raise DatasetError(
                f"half of the frames {steps} steps apart have the same codes although the arm "
                "moves: the encoder does not see it; train it longer"
            )
        vqvae.rescale(settings.distance_scale / median)
    return encoded


def _inputs(config: TrainConfig, arrays: DatasetArrays) -> dict[str, Any]:
    """Inputs that the networks depend on, without budgets."""
    # Other stages, and generators of more levels, may be added later.
    return {
        "seed": config.seed,
        "training_fraction": config.data.training_fraction,
        **{name: without_budget(getattr(config, name)) for name in ("vqvae", "iql")},
        "generators": without_budget(config.generators, "levels"),
        "data": arrays.fingerprint,
    }
