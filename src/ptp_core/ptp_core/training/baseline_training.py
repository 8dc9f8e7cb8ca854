# SPDX-License-Identifier: Apache-2.0
"""Train the networks of the baselines with the encoder of a PTP checkpoint, and save them.

Each baseline has one network of its own. Encoder, policy and value are those of the PTP
checkpoint. The manifest refers to them by relative path where it can; otherwise they are copied.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from ptp_core.agents.registry import method_named
from ptp_core.config import (
    BaselinesConfig,
    GeneratedGoalsConfig,
    IQLConfig,
    LatentVAEConfig,
    MidpointConfig,
    TrainConfig,
    to_dict,
)
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EncodedDataset, encoded_demonstrations
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import check_new_folder, keep_inputs, reserved_folder, write_atomically
from ptp_core.data.replay_buffer import CodeBatch
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import CheckpointError, ConfigError, DatasetError
from ptp_core.learning.gradient_step import gradient_step
from ptp_core.learning.iql import IQL, GoalNetwork
from ptp_core.planners.gcp_planner import MidpointGenerator, sample_triples
from ptp_core.planners.leap_planner import LatentVAE
from ptp_core.policies.cloned_policy import ClonedPolicy
from ptp_core.progress import Bar
from ptp_core.training.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ptp_core.training.iql_stage import (
    VALIDATION_TRANSITIONS,
    fill_buffer,
    generated_goals,
    make_batch,
)
from ptp_core.training.stage import (
    Metrics,
    StageState,
    choose_device,
    encoded_fingerprint,
    run_as_configured,
    without_budget,
)
from ptp_core.training.weights import Precision, serialise

SCALE_LATENTS = 8192  # random latents from which the VAE's shift and scale are computed
VALIDATION_LATENTS = 1024
VALIDATION_TRIPLES = 256

Loss = Callable[[EncodedDataset, int, np.random.Generator, torch.Generator], tuple]
"""Loss and metrics of so many examples that the first generator picks; the second draws z."""

CODES = "codes.safetensors"
METRICS = "metrics.json"
INPUTS = "inputs.json"  # file with the inputs that the run in a folder was made from
OWN_PART = {"leap": "latent_vae", "gcp": "midpoints", "gcbc": "policy"}  # of each baseline


def train_latent_vae(
    config: BaselinesConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[LatentVAE, dict[str, float]]:
    """Train on single frames, drawn uniformly; return the network and its last scalars."""
    torch.manual_seed(config.seed)
    vae = LatentVAE(config.vae, vqvae.latent).to(vqvae.codebook.device)
    picks = np.random.default_rng(config.seed).integers(len(data.codes), size=SCALE_LATENTS)
    vae.fit_scale(vqvae.latents_of(data.codes[picks]))

    def loss(data, count, rng, generator):
        frames = rng.integers(len(data.codes), size=count)
        return vae.loss(vqvae.latents_of(data.codes[frames]), generator)

    scalars = _train_network(
        "vae", config, vae, loss, data, folder, validation, VALIDATION_LATENTS, progress
    )
    return vae.eval(), scalars


def train_midpoints(
    config: BaselinesConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[MidpointGenerator, dict[str, float]]:
    """Train on nodes of balanced trees; return the network and its last scalars."""
    torch.manual_seed(config.seed)
    midpoints = MidpointGenerator(config.midpoints, vqvae.latent).to(vqvae.codebook.device)

    def loss(data, count, rng, generator):
        triples = sample_triples(data.lengths, config.midpoints.depth, count, rng)
        left, middle, right = vqvae.latents_of(data.codes[triples]).unbind(1)
        return midpoints.loss(left, right, middle, generator)

    scalars = _train_network(
        "midpoints",
        config,
        midpoints,
        loss,
        data,
        folder,
        validation,
        VALIDATION_TRIPLES,
        progress,
    )
    return midpoints.eval(), scalars


def train_gcbc(
    config: BaselinesConfig,
    checkpoint: Checkpoint,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[GoalNetwork, dict[str, float]]:
    """Train with the checkpoint's ``iql`` and ``imagined`` settings; return network and scalars.

    GCBC is goal-conditioned behaviour cloning (Lynch et al. 2019, arXiv 1903.01973; Ghosh et al.
    2019, arXiv 1912.06088): IQL's policy loss with all weights 1, an ablation of the advantage
    weights. Network, initial weights, trajectories, relabelled goals, generated goals, number of
    updates and learning rates are those of the checkpoint's policy. There is no V and no Q. All
    its computation is in float32.

    ``folder`` holds one folder a stage. The second stage's scalars begin with "imagined/".
    """
    settings, generated = checkpoint.config.iql, checkpoint.config.imagined
    torch.manual_seed(config.seed)
    sizes = checkpoint.vqvae.latent, data.actions.shape[1]
    first = IQL(settings, *sizes).to(checkpoint.vqvae.codebook.device)
    held_out = fill_buffer(validation, settings).sample(
        VALIDATION_TRANSITIONS, np.random.default_rng(0)
    )
    cloning = _Cloning(config, checkpoint, data, held_out, progress)
    scalars = cloning.train("gcbc", first, folder / "camera", settings)
    if not generated.steps:
        return first.policy.eval(), scalars
    further = dataclasses.replace(settings, learning_rate=generated.learning_rate)
    second = IQL(further, *sizes)
    second.to(checkpoint.vqvae.codebook.device)
    second.policy.load_state_dict(first.policy.state_dict())
    frames = len(data.codes)
    with Bar(total=frames, unit="frame", desc="imagine goals", disable=not progress) as bar:
        draws = torch.Generator().manual_seed(config.seed)
        shown = generated_goals(checkpoint.vqvae, checkpoint.generators, data, draws, bar.update)
    more = cloning.train("gcbc", second, folder / "imagined", generated, shown, generated.share)
    scalars |= {f"imagined/{name}": value for name, value in more.items()}
    return second.policy.eval(), scalars


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


def _train_network(
    name: str,
    config: BaselinesConfig,
    network: nn.Module,
    loss: Loss,
    data: EncodedDataset,
    folder: Path,
    validation: EncodedDataset,
    held_out: int,
    progress: bool,
) -> dict[str, float]:
    settings: LatentVAEConfig | MidpointConfig = getattr(config, name)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    state = StageState(
        modules={name: network},
        optimisers={"adam": optimiser},
        seed=config.seed,
        fingerprint=encoded_fingerprint(settings, config.seed, data),
    )

    def train_step() -> Metrics:
        total, metrics = loss(data, settings.batch_size, state.rng, state.generator)
        gradient_step(total, optimiser, settings.gradient_clip)
        return metrics

    @torch.inference_mode()
    def validate() -> Metrics:
        # The same examples and the same z each time.
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        return loss(validation, held_out, rng, generator)[1]

    return run_as_configured(
        name,
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
    )


class _Cloning:
    """Training data, and validation data of the policy."""

    def __init__(
        self,
        config: BaselinesConfig,
        checkpoint: Checkpoint,
        data: EncodedDataset,
        held_out: CodeBatch,
        progress: bool,
    ) -> None:
        self._config, self._checkpoint = config, checkpoint
        self._settings = checkpoint.config.iql
        self._buffer = fill_buffer(data, self._settings)
        self._held_out = held_out
        self._inputs = encoded_fingerprint(self._settings, config.seed, data)
        self._progress = progress

    def train(
        self,
        name: str,
        iql: IQL,
        folder: Path,
        budget: IQLConfig | GeneratedGoalsConfig,
        generated: np.ndarray | None = None,
        share: float = 0.0,
    ) -> dict[str, float]:
        """Train the policy of ``iql`` until the budget is spent; return the last scalars."""
        size, policy = self._settings.batch_size, iql.policy.train()
        optimiser = iql.optimisers["policy"]
        inputs: dict[str, Any] = {**self._inputs, "stage": without_budget(budget)}
        if generated is not None:
            inputs["imagined"] = sha256(generated.tobytes() + serialise(policy)).hexdigest()
        state = StageState(
            modules={"policy": policy},
            optimisers={"policy": optimiser},
            seed=self._config.seed,
            fingerprint=inputs,
        )

        def train_step() -> Metrics:
            codes = self._buffer.sample(size, state.rng, generated, share)
            loss, metrics = self._loss(iql, codes)
            gradient_step(loss, optimiser, self._settings.gradient_clip)
            return metrics

        @torch.inference_mode()
        def validate() -> Metrics:
            return self._loss(iql, self._held_out)[1]

        return run_as_configured(
            name,
            folder,
            state,
            train_step,
            budget,
            self._config,
            validate=validate,
            progress=self._progress,
        )

    def _loss(self, iql: IQL, codes: CodeBatch) -> tuple[torch.Tensor, Metrics]:
        """IQL's policy loss with all advantages 0, so that all weights are 1."""
        checkpoint, epsilon = self._checkpoint, self._settings.reward_epsilon
        batch = make_batch(codes, checkpoint.vqvae, epsilon)
        loss, metrics = iql.policy_loss(batch, torch.zeros_like(batch.rewards))
        return loss, {"loss": metrics["policy/loss"], "action_mse": metrics["policy/action_mse"]}


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
    counts = {"trajectories": len(encoded.lengths), "frames": len(encoded.codes)}
    folders: dict[str, Path] = {}
    for name in wanted:
        own, metrics = _own_part(name, config, loaded, training, out, common)
        own.precision = precision
        made = baseline(name, own, config, loaded)
        made.metrics = {OWN_PART[name]: metrics, **counts}
        folders[name] = out / name
        save_baseline(folders[name], made)
        _note(out / METRICS, made.metrics)
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


def _note(path: Path, metrics: dict[str, Any]) -> None:
    """Add a network's metrics to the folder's metrics file."""
    try:
        earlier = load_json(path) if path.exists() else {}
        text = json.dumps({**earlier, **metrics}, indent=2) + "\n"
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); delete it") from error
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


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
