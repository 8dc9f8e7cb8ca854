# SPDX-License-Identifier: Apache-2.0
"""Convert checkpoints of earlier versions to the current format, without changing weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.ptp import fitting_method
from ptp_core.agents.subgoal_agent import subgoal_spec
from ptp_core.config import BaselinesConfig, IQLConfig, TrainConfig, from_dict
from ptp_core.data.file_limits import load_json
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.training.baseline_training import OWN_PART, baseline, save_baseline
from ptp_core.training.checkpoint import (
    Checkpoint,
    Part,
    encoder_files,
    load_checkpoint,
    part_type,
    save_checkpoint,
)
from ptp_core.training.manifest import CHECKPOINT, ENCODER, MANIFEST
from ptp_core.training.weights import StoredFile, serialise, write_folder

BASELINES = "baselines.json"  # manifest of a folder of baselines, version 1
OLD_NAMES = {"latent_vae": "vae", "midpoints": "midpoints", "policy": "gcbc"}  # part -> old file


def convert_checkpoint(
    old: str | Path, new: str | Path, *, encoder: Path | None = None, base: Path | None = None
) -> list[Path]:
    """Convert the checkpoint, or the set of baselines, in ``old``; return the new folders.

    A checkpoint becomes ``new``; its agent is the method whose plans its settings describe, else
    ptp. ``encoder``: a folder for its encoder, which others may share; None: one in ``new``.
    Baselines become ``new``/METHOD each, on the checkpoint ``base``, of the current version.
    Each folder is written atomically; after an interruption the same call converts all again.
    Raises CheckpointError and ConfigError, one line.
    """
    old, new = Path(old), Path(new)
    if old.resolve() == new.resolve():
        raise ConfigError(f"{new}: name another folder than the one that is converted")
    if (old / BASELINES).is_file():
        if base is None:
            raise ConfigError(
                f"{old} holds baselines: name the converted checkpoint that they are for with "
                "--checkpoint"
            )
        return _convert_baselines(old, new, load_checkpoint(base))
    return [_convert(old, new, encoder)]


def _convert(old: Path, new: Path, encoder_at: Path | None) -> Path:
    manifest = _read(old / MANIFEST, CHECKPOINT.name)
    config = _config(TrainConfig, manifest["config"], old / MANIFEST)
    encoder_id, precision = manifest["encoder_id"], manifest["precision"]
    vqvae = _made("vqvae", config.vqvae, None)
    blank = subgoal_spec("ptp", vqvae)
    parts: dict[str, Part] = {}
    for name in ("vqvae", "generators", "iql"):
        module = vqvae
        if name != "vqvae":
            module = _made(name, getattr(config, name), blank, vqvae)
        _stored(old, name, manifest).load_into(module)
        parts[name] = Part(name, module, getattr(config, name), precision)
    encoder = parts.pop("vqvae")
    content = serialise(encoder.module, precision)
    if encoder_at is not None and not (encoder_at / MANIFEST).is_file():
        write_folder(encoder_at, encoder_files(encoder, content), ENCODER)
    if encoder_at is not None and ENCODER.read(encoder_at)[1]["id"] != encoder_id:
        raise CheckpointError(f"{encoder_at}: holds another encoder than {old}: name another")
    saved = save_checkpoint(
        new,
        parts,
        config,
        manifest["metrics"],
        spec=subgoal_spec(fitting_method(config.planner) or "ptp", encoder.module),
        encoder=encoder,
        encoder_at=encoder_at,
    )
    if saved != encoder_id:
        raise CheckpointError(f"{new}: its encoder has another sha256 than that of {old}")
    return new


def _convert_baselines(old: Path, new: Path, base: Checkpoint) -> list[Path]:
    path = old / BASELINES
    manifest = _read(path, "ptp-baselines")
    if manifest["encoder_id"] != base.encoder_id:
        raise CheckpointError(
            f"{old}: trained on another encoder ({manifest['encoder_id'][:8]} instead of "
            f"{base.encoder_id[:8]}); name the checkpoint that they were trained for"
        )
    config = _config(BaselinesConfig, manifest["config"], path)
    settings = {"latent_vae": config.vae, "midpoints": config.midpoints}
    if "cloned" in manifest:
        settings["policy"] = _config(IQLConfig, manifest["cloned"], path)
    made = []
    for method, part in OWN_PART.items():
        name = OLD_NAMES[part]
        if f"{name}.safetensors" not in manifest["files"] or part not in settings:
            continue
        module = _made(part, settings[part], base.spec, base.vqvae)
        _stored(old, name, manifest).load_into(module)
        own = Part(part, module, settings[part], manifest["precision"])
        converted = baseline(method, own, config, base)
        metrics = manifest["metrics"]
        counts = {key: metrics[key] for key in ("trajectories", "frames") if key in metrics}
        converted.metrics = {part: metrics.get(name, {}), **counts}
        save_baseline(new / method, converted)
        made.append(new / method)
    return made


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        manifest = load_json(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: unreadable ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != kind:
        raise CheckpointError(f"{path}: neither a checkpoint nor a set of baselines")
    if manifest.get("format_version") != 1:
        raise CheckpointError(f"{path}: not of version 1, so there is nothing to convert")
    needed = {"encoder_id", "files", "config", "precision", "metrics"}
    if missing := sorted(needed - manifest.keys()):
        raise CheckpointError(f"{path}: incomplete, no {missing[0]}; copy the folder again")
    return manifest


def _config(kind: type, values: Any, path: Path) -> Any:
    try:
        return from_dict(kind, values, source=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version") from error


def _made(
    name: str, config: Any, spec: AgentSpec | None, encoder: nn.Module | None = None
) -> nn.Module:
    return part_type(name, name).make(config, spec, encoder)


def _stored(old: Path, name: str, manifest: Mapping[str, Any]) -> StoredFile:
    file = f"{name}.safetensors"
    try:
        entry = manifest["files"][file]
        digest, size = entry["sha256"], entry["bytes"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{old}: its manifest does not tell of {file}") from error
    return StoredFile(old / file, digest, size, manifest["encoder_id"], "copy the folder again")
