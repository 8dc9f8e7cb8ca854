# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: an agent's parts as safetensors, its encoder, and a JSON manifest.

`ptp_core.training.manifest` documents the layout of the folders. A `PartType` is a kind of network
in checkpoints, and how to make it from its settings.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.registry import method_named
from ptp_core.config import (
    ChunkedPolicyConfig,
    GCIQLConfig,
    GoalClassifierConfig,
    HIQLConfig,
    InstructedPartConfig,
    IQLConfig,
    LatentVAEConfig,
    MidpointConfig,
    PlannerPartConfig,
    SentenceGoalsConfig,
    SentenceTableConfig,
    ShownLegsConfig,
    SingleLegsConfig,
    SubgoalGeneratorConfig,
    VQVAEConfig,
    from_dict,
    to_dict,
)
from ptp_core.encoders.sentence_goals import SentenceGoals
from ptp_core.encoders.text import SentenceTable
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.learning.gciql import GCIQL
from ptp_core.learning.goal_classifier import GoalClassifier, UnanimousClassifier
from ptp_core.learning.hiql import HIQL
from ptp_core.learning.iql import IQL
from ptp_core.learning.single_legs import SingleLegs
from ptp_core.planners.backward_planner import BackwardPlanner
from ptp_core.planners.forward_planner import ForwardPlanner
from ptp_core.planners.gcp_planner import MidpointGenerator
from ptp_core.planners.leap_planner import LatentVAE
from ptp_core.planners.parallel_planner import ParallelPlanner
from ptp_core.planners.shown_legs import ShownLegs
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.planners.subgoal_proposer import SubgoalProposer
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.policies.cloned_policy import ClonedPolicy
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.training.manifest import (
    CHECKPOINT,
    ENCODER,
    ENCODER_FOLDER,
    MANIFEST,
    encoder_folder,
    inside,
    listed,
)
from ptp_core.training.weights import Precision, StoredFile, serialise, write_folder

GROUP = "ptp.parts"  # entry points of installed packages: name -> PartType

Make = Callable[[Any, AgentSpec, nn.Module | None], nn.Module]
"""From a part's configuration, the agent's spec and its encoder to the network, any weights."""

_registered: dict[str, PartType] = {}


@dataclass
class Part:
    """A network of an agent, or its encoder."""

    type: str  # name of a `PartType`
    module: nn.Module
    config: Any  # dataclass of the type
    precision: Precision = "float32"  # of its file; in memory parts are float32
    stored: StoredFile | None = None  # None: it was never written


@dataclass
class Checkpoint:
    """A loaded checkpoint; networks are float32, in evaluation mode.

    ``config``: the agent's settings. The section named as a part, or as the encoder's type, has
    the settings of that network.
    """

    folder: Path
    spec: AgentSpec
    config: Any  # dataclass, `Method.config` of the spec's agent
    encoder: Part | None
    parts: dict[str, Part]
    encoder_id: str = ""  # sha256 of the encoder's file; latents of other encoders are refused
    metrics: dict[str, Any] = field(default_factory=dict)  # of the training

    @property
    def agent(self) -> str:
        """Name of the default method of this checkpoint."""
        return self.spec.agent

    @property
    def sha256(self) -> dict[str, str]:
        """sha256 of the files of parts and encoder, by the file's name."""
        everything = [*self.parts.values(), *([self.encoder] if self.encoder else [])]
        files = [part.stored for part in everything if part.stored is not None]
        return dict(sorted((stored.path.name, stored.sha256) for stored in files))

    def modules(self) -> dict[str, nn.Module]:
        """Every network by name: the encoder by its type, then the parts."""
        first = {} if self.encoder is None else {self.encoder.type: self.encoder.module}
        return first | {name: part.module for name, part in self.parts.items()}

    def part(self, name: str) -> nn.Module:
        """A part's network. Raises CheckpointError where there is none of this name."""
        if name not in self.parts:
            raise CheckpointError(
                f"{self.folder}: no part {name}; this checkpoint of {self.agent} has "
                f"{listed(self.parts)}"
            )
        return self.parts[name].module

    def together(self, names: Sequence[str]) -> nn.Module:
        """One part as it is, or several parts under their names."""
        if len(names) == 1:
            return self.part(names[0])
        return nn.ModuleDict({name: self.part(name) for name in names})

    @property
    def vqvae(self) -> VQVAE:
        """The encoder, for agents whose latents are codes. Raises CheckpointError for others."""
        if self.encoder is None or self.encoder.type != "vqvae":
            raise CheckpointError(f"{self.folder}: {self.agent} has no VQ-VAE")
        return self.encoder.module

    @property
    def generators(self) -> GeneratorHierarchy:
        """The part of the same name. Raises CheckpointError without one."""
        return self.part("generators")

    @property
    def goal_classifier(self) -> GoalClassifier:
        """The part "classifier", which "strict_classifier" must agree with, where there is one.

        Raises CheckpointError without the first.
        """
        judges = [self.part("classifier")]
        if "strict_classifier" not in self.parts:
            return judges[0]
        return UnanimousClassifier([*judges, self.part("strict_classifier")])

    @property
    def iql(self) -> IQL:
        """The part of the same name. Raises CheckpointError without one."""
        return self.part("iql")

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of an action's dimensions."""
        return self.spec.actions


def save_checkpoint(
    folder: str | Path,
    parts: Mapping[str, Part],
    config: Any,
    metrics: dict[str, Any],
    *,
    spec: AgentSpec,
    encoder: Part | None = None,
    encoder_at: Path | None = None,
    shared: Mapping[str, StoredFile] | None = None,
) -> str:
    """Write a checkpoint of ``spec.agent`` atomically; return the encoder's id, "" without one.

    Each part is written in its own precision: float16 halves the file; loading always gives
    float32. An existing checkpoint is replaced; after a kill either the old or the new one is
    there. ``encoder_at``: folder of the encoder, which exists already; None: it is written into
    the checkpoint's folder. ``shared``: files of other checkpoints that have the same parts; the
    manifest refers to them instead of a copy. Files that `inside` does not allow are copied.
    """
    folder = Path(folder)
    files: dict[str, bytes] = {}
    encoder_id, about = "", None
    if encoder is not None:
        content = serialise(encoder.module, encoder.precision)
        encoder_id = hashlib.sha256(content).hexdigest()
        place = None if encoder_at is None else _relative(folder, encoder_at)
        if place is None:
            place = ENCODER_FOLDER
            files |= encoder_files(encoder, content, f"{place}/")
        about = {"type": encoder.type, "id": encoder_id, "folder": place}
    if spec.latent is not None:
        spec = dataclasses.replace(
            spec, latent=dataclasses.replace(spec.latent, encoder_id=encoder_id)
        )
    entries: dict[str, Any] = {}
    for name, part in parts.items():
        stored = (shared or {}).get(name)
        place = None if stored is None else _relative(folder, stored.path)
        if place is None:
            place = f"{name}.safetensors"
            files[place] = serialise(part.module, part.precision, encoder_id)
            digest, size = hashlib.sha256(files[place]).hexdigest(), len(files[place])
        else:
            digest, size = stored.sha256, stored.size
        entries[name] = {
            "type": part.type,
            "file": place,
            "sha256": digest,
            "bytes": size,
            "precision": part.precision,
            "config": to_dict(part.config),
        }
    manifest = manifest_of(spec, config, about, entries, metrics)
    write_folder(folder, {**files, MANIFEST: as_json(manifest)}, CHECKPOINT)
    return encoder_id


def save_again(
    folder: str | Path, checkpoint: Checkpoint, metrics: dict[str, Any], agent: str = ""
) -> str:
    """Write a loaded checkpoint with the current weights of its networks; return the encoder id.

    It shares no file with another. Precisions stay, so that an encoder that was not trained keeps
    its id. ``agent``: its default method from now on.
    """
    spec = dataclasses.replace(checkpoint.spec, agent=agent or checkpoint.agent)
    return save_checkpoint(
        folder, checkpoint.parts, checkpoint.config, metrics, spec=spec, encoder=checkpoint.encoder
    )


def load_checkpoint(folder: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read and verify a checkpoint.

    Raises CheckpointError, one line with cause and cure, for a missing or truncated file, a wrong
    sha256, parts of different encoders, another format version, an agent or a part that this
    program does not know, or weights that do not fit the configuration.
    """
    folder = Path(folder)
    source, manifest = CHECKPOINT.read(folder)
    path = str(source / MANIFEST)
    try:
        found = _load(folder, source, manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error!r}); {CHECKPOINT.again}") from error
    for part in (*found.parts.values(), *([found.encoder] if found.encoder else [])):
        part.module.to(device).eval()
        if not part_type(part.type, path).learns:
            part.module.requires_grad_(False)
    return found


def manifest_of(
    spec: AgentSpec,
    config: Any,
    encoder: Mapping[str, Any] | None,
    parts: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a checkpoint; ``config`` may be plain values.

    Settings of parts and encoder are stored with them, and not in ``config``.
    """
    values = config if isinstance(config, Mapping) else to_dict(config)
    elsewhere = {*parts, *([encoder["type"]] if encoder else [])}
    return {
        "format": CHECKPOINT.name,
        "version": CHECKPOINT.version,
        "agent": spec.agent,
        "spec": spec.to_dict(),
        "config": {name: value for name, value in values.items() if name not in elsewhere},
        "encoder": encoder,
        "parts": parts,
        "metrics": metrics,
    }


def encoder_files(encoder: Part, content: bytes, below: str = "") -> dict[str, bytes]:
    """The files of an encoder's folder; ``content``: its weights. ``below``: prefix of names."""
    name = f"{encoder.type}.safetensors"
    manifest = {
        "format": ENCODER.name,
        "version": ENCODER.version,
        "type": encoder.type,
        "id": hashlib.sha256(content).hexdigest(),
        "file": name,
        "bytes": len(content),
        "precision": encoder.precision,
        "config": to_dict(encoder.config),
    }
    return {f"{below}{name}": content, f"{below}{MANIFEST}": as_json(manifest)}


def as_json(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as JSON bytes."""
    return (json.dumps(manifest, indent=2) + "\n").encode()


@dataclass(frozen=True)
class PartType:
    """A kind of part, encoders too."""

    name: str  # in manifests
    make: Make
    config: type  # dataclass of its settings in the manifest
    learns: bool = False  # whether it needs gradients after loading


def register_part(part: PartType) -> None:
    """Register a part type in this process. Raises ConfigError where the name is taken.

    An installed package declares its types as entry points of the group ``ptp.parts`` instead.
    """
    known = {one.name: one for one in _BUILT_IN} | _registered
    if known.get(part.name, part) != part:
        raise ConfigError(f'there is a part type "{part.name}" already: choose another name')
    _registered[part.name] = part


def registered_parts() -> tuple[PartType, ...]:
    """Types that `register_part` got, so that another process can register them too."""
    return tuple(_registered.values())


def part_type(name: str, source: str) -> PartType:
    """The part type of this name. Raises CheckpointError, which names ``source``."""
    known = {one.name: one for one in _BUILT_IN} | _registered
    if name not in known:
        known |= _installed()
    if name not in known:
        raise CheckpointError(
            f'{source}: has a part of type "{name}"; this program knows {", ".join(known)}: '
            "install the package that it is from, or register the type"
        )
    return known[name]


def _load(folder: Path, source: Path, manifest: Mapping[str, Any]) -> Checkpoint:
    """Load the checkpoint of a manifest; raises many types for a damaged one."""
    path = str(source / MANIFEST)
    spec = AgentSpec.from_dict({**manifest["spec"], "agent": str(manifest["agent"])}, path)
    encoder, encoder_id = _load_encoder(source, manifest, spec)
    if spec.latent is not None:
        latent = dataclasses.replace(spec.latent, encoder_id=encoder_id)
        spec = dataclasses.replace(spec, latent=latent)
    parts: dict[str, Part] = {}
    for name, entry in manifest["parts"].items():
        file = inside(source, entry["file"])
        stored = StoredFile(file, entry["sha256"], entry["bytes"], encoder_id, CHECKPOINT.again)
        parts[name] = _load_part(entry, stored, f"{path}: parts.{name}", spec, encoder)
    try:
        config_type = method_named(spec.agent).config
        values = dict(manifest["config"])
        known = {one.name for one in dataclasses.fields(config_type)}
        made_with = {name: part.config for name, part in parts.items()}
        if encoder is not None:
            made_with[encoder.type] = encoder.config
        values |= {name: made for name, made in made_with.items() if name in known}
        config = from_dict(config_type, values, source=path)
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version") from error
    metrics = dict(manifest["metrics"])
    return Checkpoint(folder, spec, config, encoder, parts, encoder_id, metrics)


def _load_encoder(
    folder: Path, manifest: Mapping[str, Any], spec: AgentSpec
) -> tuple[Part | None, str]:
    """The encoder, None for an agent without one, and its id."""
    where = encoder_folder(folder, manifest)
    if where is None:
        return None, ""
    where, about = ENCODER.read(where)
    encoder_id = manifest["encoder"]["id"]
    if about["id"] != encoder_id:
        raise CheckpointError(
            f"{folder}: made for encoder {encoder_id[:8]}, but {where} holds {about['id'][:8]}; "
            "restore the folders from one source"
        )
    stored = StoredFile(
        inside(where, about["file"]), encoder_id, about["bytes"], encoder_id, ENCODER.again
    )
    return _load_part(about, stored, str(where / MANIFEST), spec, None), encoder_id


def _load_part(
    entry: Mapping[str, Any], stored: StoredFile, where: str, spec: AgentSpec, encoder: Part | None
) -> Part:
    kind = part_type(entry["type"], where)
    try:
        config = from_dict(kind.config, entry["config"], source=where)
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version") from error
    module = kind.make(config, spec, None if encoder is None else encoder.module)
    stored.load_into(module)
    return Part(kind.name, module, config, entry["precision"], stored)


def _relative(folder: Path, path: Path) -> str | None:
    """``path`` relative to ``folder`` for the manifest; None where `inside` does not allow it."""
    folder, path = folder.resolve(), path.resolve()
    if path.is_relative_to(folder) or not path.is_relative_to(folder.parent.parent):
        return None
    return Path(os.path.relpath(path, folder)).as_posix()


def _vqvae(config: VQVAEConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return VQVAE(config)


def _generators(
    config: SubgoalGeneratorConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return GeneratorHierarchy(config, encoder.latent)


def _iql(config: IQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return IQL(config, encoder.latent, len(spec.actions))


def _latent_vae(config: LatentVAEConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return LatentVAE(config, encoder.latent)


def _midpoints(config: MidpointConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return MidpointGenerator(config, encoder.latent)


def _policy(config: IQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return ClonedPolicy(config, encoder.latent, len(spec.actions))


def _chunked(config: ChunkedPolicyConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    own = len(spec.proprioception) if config.proprioception else 0
    return ChunkedPolicy(config, encoder.latent, len(spec.actions), own)


def _classifier(
    config: GoalClassifierConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return GoalClassifier(config, encoder.latent)


def _shown_legs(config: ShownLegsConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return ShownLegs(config)


def _single_legs(
    config: SingleLegsConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return SingleLegs(config, encoder.latent)


def _sentences(
    config: SentenceTableConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return SentenceTable(config)


def _sentence_goals(
    config: SentenceGoalsConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    return SentenceGoals(config)


def _backward(config: PlannerPartConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return BackwardPlanner(config.backward, encoder.latent, config.language)


def _forward(config: PlannerPartConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return ForwardPlanner(config.forward, encoder.latent, config.language)


def _parallel(config: PlannerPartConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return ParallelPlanner(config.parallel, encoder.latent, config.language)


def _proposer(config: PlannerPartConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return SubgoalProposer(config.proposer, encoder.latent, config.language)


def _instructed(
    config: InstructedPartConfig, spec: AgentSpec, encoder: nn.Module | None
) -> nn.Module:
    settings = config.policy
    own = len(spec.proprioception) if settings.proprioception else 0
    sizes = len(spec.actions), own, config.language, config.levels
    return InstructedPolicy(settings, encoder.latent, *sizes)


def _gciql(config: GCIQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return GCIQL(config, len(spec.proprioception), len(spec.actions))


def _hiql(config: HIQLConfig, spec: AgentSpec, encoder: nn.Module | None) -> nn.Module:
    return HIQL(config, len(spec.proprioception), len(spec.actions))


_BUILT_IN = (
    PartType("vqvae", _vqvae, VQVAEConfig),
    PartType("generators", _generators, SubgoalGeneratorConfig),
    PartType("iql", _iql, IQLConfig, learns=True),
    PartType("latent_vae", _latent_vae, LatentVAEConfig),
    PartType("midpoints", _midpoints, MidpointConfig),
    PartType("policy", _policy, IQLConfig),
    PartType("chunked", _chunked, ChunkedPolicyConfig, learns=True),
    PartType("classifier", _classifier, GoalClassifierConfig),
    PartType("shown_legs", _shown_legs, ShownLegsConfig),
    PartType("single_legs", _single_legs, SingleLegsConfig),
    PartType("sentences", _sentences, SentenceTableConfig),
    PartType("sentence_goals", _sentence_goals, SentenceGoalsConfig),
    PartType("backward", _backward, PlannerPartConfig),
    PartType("forward", _forward, PlannerPartConfig),
    PartType("parallel", _parallel, PlannerPartConfig),
    PartType("proposer", _proposer, PlannerPartConfig),
    PartType("instructed", _instructed, InstructedPartConfig, learns=True),
    PartType("gciql", _gciql, GCIQLConfig),
    PartType("hiql", _hiql, HIQLConfig),
)


@functools.cache
def _installed() -> dict[str, PartType]:
    found = (entry.load() for entry in entry_points(group=GROUP))
    return {part.name: part for part in found}
