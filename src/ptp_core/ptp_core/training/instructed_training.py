# SPDX-License-Identifier: Apache-2.0
"""Train LBP and its baselines from demonstrations with instructions: planners, then policies.

All methods share data, encoder and text encoder. Every stage can resume.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptp_core.agents.registry import method_named
from ptp_core.agents.subgoal_agent import subgoal_spec
from ptp_core.config import (
    InstructedPartConfig,
    InstructionTrainConfig,
    PlannerPartConfig,
    SentenceGoalsConfig,
    to_dict,
)
from ptp_core.data.coverage import read_cells
from ptp_core.data.dataset import Dataset, DatasetArrays
from ptp_core.data.encoded_dataset import EncodedDataset, check_images, encoded_demonstrations
from ptp_core.data.files import check_new_folder, reserved_folder
from ptp_core.data.trajectory import Metadata, action_names
from ptp_core.encoders.sentence_goals import SentenceGoals
from ptp_core.encoders.text import SentenceTable, minilm_installed
from ptp_core.errors import ConfigError, DatasetError
from ptp_core.learning.diffusion_bc import check_columns
from ptp_core.planners.backward_planner import BackwardPlanner
from ptp_core.planners.forward_planner import ForwardPlanner
from ptp_core.planners.parallel_planner import ParallelPlanner
from ptp_core.planners.subgoal_proposer import SubgoalProposer
from ptp_core.policies.goal_fusion import check_heads
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.progress import Bar
from ptp_core.training.checkpoint import (
    Checkpoint,
    Part,
    encoder_files,
    load_checkpoint,
    save_checkpoint,
)
from ptp_core.training.instructed_stage import (
    InstructedFrames,
    PolicyContexts,
    train_instructed_planner,
    train_instructed_policy,
)
from ptp_core.training.manifest import ENCODER
from ptp_core.training.stage import choose_device, without_budget
from ptp_core.training.training_curves import CurvePanel, plot_curves
from ptp_core.training.training_folder import CODES, add_metrics, begin_run
from ptp_core.training.vqvae_stage import train_vqvae
from ptp_core.training.weights import Precision, round_to, serialise, write_folder

PLANNERS = {  # method: kind of its planner, a section of the settings and a type of part
    "lbp": "backward",
    "lbp_forward": "forward",
    "lbp_parallel": "parallel",
    "susie_style": "proposer",
}
INSTRUCTED_METHODS = (*PLANNERS, "lcbc", "glcbc")
KINDS = {
    "backward": BackwardPlanner,
    "forward": ForwardPlanner,
    "parallel": ParallelPlanner,
    "proposer": SubgoalProposer,
}


def pretrain_instructed(
    config: InstructionTrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] = ("lbp",),
    encoder: str | Path | None = None,
    precision: Precision = "float16",
    progress: bool = True,
) -> dict[str, Path]:
    """Train the networks of ``methods``; return each one's checkpoint, ``out``/METHOD.

    ``data``: a data set whose trajectories have instructions. ``encoder``: a checkpoint whose
    VQ-VAE is taken; None: one is trained first. ``out`` also holds one folder a stage (state,
    scalars.csv, TensorBoard events), the encoder, its codes, config.yaml, inputs.json,
    metrics.json and curves.png. Run again with the same folders to resume; methods may be added.
    Raises KeyboardInterrupt after saving on Ctrl-C; before any work ConfigError for an unknown
    method or for MiniLM where it is not installed, DatasetError for trajectories without
    instructions, CheckpointError, and InputError where ``out`` cannot be used.
    """
    if unknown := [name for name in methods if name not in INSTRUCTED_METHODS]:
        raise ConfigError(
            f'no method "{unknown[0]}" that takes instructions; there are '
            f"{', '.join(INSTRUCTED_METHODS)}"
        )
    out, source = Path(out), Path(data)
    check_new_folder(out)
    device = choose_device(config.device)
    config = _with_text(config)
    base = None if encoder is None else load_checkpoint(encoder, device)
    if base is not None:
        config = dataclasses.replace(config, vqvae=base.vqvae.config)
    elif config.vqvae.distance_scale is not None:
        raise ConfigError(
            "vqvae.distance_scale has no effect here, where latents are standardised: set it to "
            "null"
        )
    dataset = Dataset(source)
    with Bar(total=len(dataset), unit="trajectory", desc="load", disable=not progress) as bar:
        arrays = dataset.load(bar.update)
    check_images(arrays.main_camera, arrays.camera(), config.vqvae.image_size)
    _check_instructions(arrays.metadata, source, config.data.by_segment)
    check_columns(config.policy, arrays.proprioception, arrays.expert_actions)
    check_heads(config.policy.fusion, config.vqvae.latent.size)
    with reserved_folder(out):
        begin_run(out, _inputs(config, arrays, base), config)
        training = _Training(config, dataset, arrays, out, device, precision, progress)
        return training.run(list(dict.fromkeys(methods)), base)


class _Training:
    """One run: what its stages share."""

    def __init__(
        self,
        config: InstructionTrainConfig,
        dataset: Dataset,
        arrays: DatasetArrays,
        out: Path,
        device: torch.device,
        precision: Precision,
        progress: bool,
    ) -> None:
        self.config, self.dataset, self.arrays, self.out = config, dataset, arrays, out
        self.device, self.precision, self.progress = device, precision, progress
        self.metrics: dict[str, Any] = {
            "trajectories": len(arrays.lengths),
            "frames": len(arrays.actions),
            "data": dataset.description,
        }
        if (cells := read_cells(dataset.folder)) is not None:
            self.metrics["coverage"] = cells

    def run(self, methods: list[str], base: Checkpoint | None) -> dict[str, Path]:
        """Train planners, then policies; save a checkpoint for each method."""
        self.base = self._encoder() if base is None else base
        vqvae = self.base.vqvae.requires_grad_(False)
        parts = self._encoded().split(self.config.data.training_fraction)
        text = self.config.text
        # A learned vector means nothing without training; MiniLM's do.
        shown = parts[:1] if text.kind == "learned" else parts
        known = [each.instruction for part in shown for each in part.metadata]
        torch.manual_seed(self.config.seed)
        self.table = SentenceTable.of(text.kind, known, text.dimensions).to(self.device)
        round_to(self.table, self.precision)  # others learn from what is stored
        self.training, self.validation = (
            InstructedFrames(part, self.table, vqvae)
            for part in (parts[0], _understood(parts[1], self.table))
        )
        planners: dict[str, nn.Module] = {}
        kinds = [PLANNERS[name] for name in methods if name in PLANNERS]
        if text.kind == "learned":  # its vectors are trained with LBP's planner
            kinds = ["backward", *kinds]
        for kind in dict.fromkeys(kinds):
            planners[kind] = self._planner(kind)
        folders = {}
        for name in methods:
            folders[name] = self._method(name, planners.get(PLANNERS.get(name, "")))
        return folders

    def _encoder(self) -> Checkpoint:
        """Train the VQ-VAE and store it in ``out``/encoder; a checkpoint without parts."""
        config, arrays = self.config, self.arrays
        first, rest = arrays.split(config.data.training_fraction)
        vqvae, self.metrics["vqvae"] = train_vqvae(
            config,
            first.camera(),
            self.out / "vqvae",
            validation=rest.camera(),
            content=first.fingerprint,
            device=self.device,
            progress=self.progress,
        )
        round_to(vqvae, self.precision)
        part = Part("vqvae", vqvae, config.vqvae, self.precision)
        content = serialise(vqvae, self.precision)
        write_folder(self.out / "encoder", encoder_files(part, content), ENCODER)
        encoder_id = sha256(content).hexdigest()
        actions = action_names(arrays.action_channels, arrays.actions.shape[1])
        spec = subgoal_spec("lbp", vqvae, actions, encoder_id)
        return Checkpoint(self.out, spec, config, part, {}, encoder_id)

    def _encoded(self) -> EncodedDataset:
        """The data as codes, without failures."""
        with Bar(unit="image", desc="encode", disable=not self.progress) as bar:
            encoded = encoded_demonstrations(
                self.dataset.folder, self.base, self.out / CODES, bar.show
            )
        if self.config.data.by_segment:
            encoded = encoded.by_segment()
        return encoded.only(np.array([known.success is not False for known in encoded.metadata]))

    def _planner(self, kind: str) -> nn.Module:
        settings = getattr(self.config, kind)
        torch.manual_seed(self.config.seed)
        planner = KINDS[kind](settings, self.base.vqvae.latent, self.table.dimensions)
        planner.to(self.device)
        self.metrics[kind] = train_instructed_planner(
            kind,
            planner,
            settings,
            self.config,
            self.training,
            self.out / kind,
            validation=self.validation,
            progress=self.progress,
        )
        for module in (planner, self.table):
            round_to(module, self.precision)  # the policy learns from what it will be given
        add_metrics(self.out, self.metrics)
        return planner

    def _method(self, name: str, planner: nn.Module | None) -> Path:
        """Train the policy of a method and save its checkpoint."""
        config, method = self.config, method_named(name)
        how = {"true_frames": name == "susie_style", "goals": name == "glcbc"}
        contexts, held_out = (
            PolicyContexts(frames, planner, **how) for frames in (self.training, self.validation)
        )
        data, own = self.training.data, 0
        if config.policy.proprioception and data.proprioception is not None:
            own = data.proprioception.shape[1]
        torch.manual_seed(config.seed)
        sizes = data.actions.shape[1], own, self.table.dimensions, contexts.levels
        policy, average = (
            InstructedPolicy(config.policy, self.base.vqvae.latent, *sizes).to(self.device)
            for _ in range(2)
        )
        part_name = method.learned
        self.metrics[part_name] = train_instructed_policy(
            part_name,
            policy,
            average,
            config,
            contexts,
            self.out / part_name,
            validation=held_out,
            progress=self.progress,
        )
        add_metrics(self.out, self.metrics)
        plot_curves(self.out, self.out / "curves.png", _panels())
        table, language = self.table, self.table.dimensions
        parts = {"sentences": Part("sentences", table, table.config, self.precision)}
        if planner is not None:
            kind = PLANNERS[name]
            about = PlannerPartConfig(language=language, **{kind: planner.config})
            parts[f"{name}_planner"] = Part(kind, planner, about, self.precision)
        if name == "glcbc":
            goals = self._fixed_goals()
            parts["sentence_goals"] = Part("sentence_goals", goals, goals.config, self.precision)
        if config.rest_hold and "classifier" in self.base.parts:
            # A goal that is predicted in one step does not seek out errors as a search does.
            known = self.base.parts
            judge = known.get("strict_classifier", known["classifier"])
            parts["classifier"] = Part("classifier", judge.module, judge.config, self.precision)
        about = InstructedPartConfig(
            policy=config.policy, language=language, levels=contexts.levels
        )
        parts[part_name] = Part("instructed", average, about, self.precision)
        channels = [channel.name for channel in data.proprioception_channels]
        spec = dataclasses.replace(
            self.base.spec,
            agent=name,
            goals=method.goals,
            proprioception=tuple(channels or (f"p{i}" for i in range(own))) if own else (),
        )
        stored = self.base.encoder.stored
        save_checkpoint(
            self.out / name,
            parts,
            config,
            {key: value for key, value in self.metrics.items() if not key.endswith("_policy")}
            | {part_name: self.metrics[part_name]},
            spec=spec,
            encoder=self.base.encoder,
            encoder_at=self.out / "encoder" if stored is None else stored.path.parent,
        )
        return self.out / name

    def _fixed_goals(self) -> SentenceGoals:
        """What the first demonstration of each sentence ended with, those of the training."""
        sentences, codes = self.table.config.sentences, self.base.vqvae.latent.codes
        goals = SentenceGoals(SentenceGoalsConfig(sentences=len(sentences), codes=codes))
        for frames in (self.validation, self.training):  # training's goals replace others
            data = frames.data
            ends = (data.starts + data.lengths - 1)[::-1]
            for end, known in zip(ends, data.metadata[::-1], strict=True):
                if known.success is not False:
                    row = self.table.row(known.instruction)
                    goals.codes[row] = torch.from_numpy(data.codes[end].astype(np.int64))
        return goals


def _with_text(config: InstructionTrainConfig) -> InstructionTrainConfig:
    """Settings that say which text encoder is used. Raises ConfigError without MiniLM."""
    kind, there = config.text.kind, minilm_installed()
    if kind == "auto":
        kind = "minilm" if there else "learned"
    elif kind == "minilm" and not there:
        raise ConfigError(
            "text.kind is minilm, which is not installed: install it (docs/instructions.md), or "
            "set learned"
        )
    return dataclasses.replace(config, text=dataclasses.replace(config.text, kind=kind))


def _check_instructions(metadata: Sequence[Metadata], where: Path, by_segment: bool) -> None:
    """Raise DatasetError unless two successes or more are there, all with an instruction."""
    shown = [
        each
        for known in metadata
        for each in (known.segments if by_segment and known.segments else (known,))
        if each.success is not False
    ]
    what = "segments" if by_segment else "trajectories"
    if len(shown) < 2:
        raise DatasetError(
            f"{where}: {len(shown)} of the {what} did not fail; two are needed, one to validate"
        )
    silent = sum(not each.instruction.strip() for each in shown)
    if silent:
        raise DatasetError(
            f"{where}: {silent} of {len(shown)} {what} that did not fail have no instruction, "
            "from which these methods learn: collect or import data that say what they show"
        )


def _understood(data: EncodedDataset, table: SentenceTable) -> EncodedDataset:
    """The trajectories whose sentences the table knows. Raises DatasetError without any."""
    keep = np.array([table.row(known.instruction) is not None for known in data.metadata])
    if not keep.any():
        raise DatasetError(
            "no trajectory that validates has an instruction of those that are trained on: lower "
            "data.training_fraction, or use MiniLM"
        )
    return data.only(keep)


def _inputs(
    config: InstructionTrainConfig, arrays: DatasetArrays, base: Checkpoint | None
) -> dict[str, Any]:
    """Inputs that every network depends on, without budgets."""
    return {
        "seed": config.seed,
        "training_fraction": config.data.training_fraction,
        "by_segment": config.data.by_segment,
        "text": to_dict(config.text),
        "encoder": without_budget(config.vqvae) if base is None else base.encoder_id,
        "data": arrays.fingerprint,
    }


def _panels() -> tuple[CurvePanel, ...]:
    policies = {name: f"{name}_policy" for name in INSTRUCTED_METHODS}
    return (
        CurvePanel("VQ-VAE: weighted reconstruction error", "weighted_mse", {"VQ-VAE": "vqvae"}),
        CurvePanel("Planners: loss", "loss", {kind: kind for kind in KINDS}),
        CurvePanel("Policies: loss of the noise", "loss", policies),
        CurvePanel("Policies: error of the action", "action_mse", policies),
    )
