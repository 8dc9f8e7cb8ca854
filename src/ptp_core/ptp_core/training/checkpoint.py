# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors and a JSON manifest; never a pickle.

manifest.json            format, version, encoder id, configuration, metrics, sha256 of each file
vqvae.safetensors        always
generators.safetensors   subgoal generators dt60, dt30, dt15
iql.safetensors          policy, v, q, q_target
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ptp_core.agents.iql import IQL
from ptp_core.config import TrainConfig, from_dict, to_dict
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.models.subgoal_generator import GeneratorHierarchy
from ptp_core.models.vqvae import VQVAE

FORMAT = "ptp-checkpoint"
FORMAT_VERSION = 1
PARTS = ("vqvae", "generators", "iql")


@dataclass
class Checkpoint:
    """A loaded checkpoint; networks are float32, in evaluation mode."""

    folder: Path
    manifest: dict[str, Any]
    config: TrainConfig
    vqvae: VQVAE
    generators: GeneratorHierarchy
    iql: IQL

    @property
    def encoder_id(self) -> str:
        """Return the sha256 of the stored VQ-VAE; codes of another encoder mean nothing here."""
        return self.manifest["encoder_id"]


def save_checkpoint(
    folder: str | Path,
    modules: dict[str, nn.Module],
    config: TrainConfig,
    metrics: dict[str, Any],
    *,
    precision: Literal["float32", "float16"] = "float32",
) -> str:
    """Write "vqvae", "generators" and "iql" atomically; return the encoder id.

    ``precision`` float16 halves the files; loading always gives float32. An existing checkpoint
    is replaced; after a kill either the old or the new one is there.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    encoder_id, files = "", {}
    for part in PARTS:
        content = serialise(modules[part], precision, encoder_id)
        digest = hashlib.sha256(content).hexdigest()
        encoder_id = encoder_id or digest  # the VQ-VAE is the first part
        files[f"{part}.safetensors"] = {"sha256": digest, "bytes": len(content)}
        _write_synced(partial / f"{part}.safetensors", content)
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "precision": precision,
        "encoder_id": encoder_id,
        "files": files,
        "config": to_dict(config),
        "metrics": metrics,
    }
    _write_synced(partial / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(folder, previous)
    os.rename(partial, folder)
    shutil.rmtree(previous, ignore_errors=True)
    return encoder_id


def save_again(folder: str | Path, checkpoint: Checkpoint, metrics: dict[str, Any]) -> str:
    """Write a loaded checkpoint with its networks as they are now; return the encoder id.

    The precision stays, so an encoder that was not trained keeps its identity.
    """
    modules = {part: getattr(checkpoint, part) for part in PARTS}
    precision = checkpoint.manifest["precision"]
    return save_checkpoint(folder, modules, checkpoint.config, metrics, precision=precision)


def load_checkpoint(folder: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read and verify a checkpoint.

    Raises CheckpointError, one line with cause and cure, for a missing or truncated file, a wrong
    sha256, parts of different encoders, another format version, or weights that do not fit the
    configuration.
    """
    folder = Path(folder)
    source = folder
    if not folder.exists() and _previous(folder).exists():
        source = _previous(folder)  # a kill came between the two renames of a save
    manifest = _read_manifest(source)
    try:
        config = from_dict(TrainConfig, manifest["config"], source=str(source / "manifest.json"))
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version") from error
    modules: dict[str, nn.Module] = {
        "vqvae": VQVAE(config.vqvae),
        "generators": GeneratorHierarchy(config.generators),
        "iql": IQL(config.iql),
    }
    encoder_id = manifest["encoder_id"]
    if manifest["files"]["vqvae.safetensors"]["sha256"] != encoder_id:
        raise CheckpointError(
            f"{source}: vqvae.safetensors is not the encoder that the manifest names; "
            "restore the whole folder from one source"
        )
    for part, module in modules.items():
        _load_part(source / f"{part}.safetensors", part, module, manifest)
        module.to(device).eval()
    modules["vqvae"].requires_grad_(False)
    modules["generators"].requires_grad_(False)
    return Checkpoint(folder=folder, manifest=manifest, config=config, **modules)


def serialise(module: nn.Module, precision: str = "float32", encoder_id: str = "") -> bytes:
    """Return a module's weights as safetensors bytes; equal weights give equal bytes."""
    dtype = torch.float16 if precision == "float16" else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
        for name, value in sorted(module.state_dict().items())
    }
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    return save(tensors, metadata={"encoder_id": encoder_id} if encoder_id else None)


def _load_part(path: Path, part: str, module: nn.Module, manifest: dict[str, Any]) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); copy the checkpoint again"
        ) from error
    expected = manifest["files"][path.name]
    if len(content) != expected["bytes"]:
        raise CheckpointError(
            f"{path}: truncated, {len(content)} of {expected['bytes']} bytes; "
            "copy the checkpoint again"
        )
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise CheckpointError(f"{path}: contents altered (sha256); copy the checkpoint again")
    encoder_id = manifest["encoder_id"]
    if part != "vqvae" and _encoder_id(content) != encoder_id:
        raise CheckpointError(
            f"{path}: trained on another encoder ({_encoder_id(content)[:8]} instead of "
            f"{encoder_id[:8]}); take all parts from one training"
        )
    try:
        tensors = {name: value.float() for name, value in load(content).items()}
        module.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: does not fit its configuration ({reason})") from error


def _encoder_id(content: bytes) -> str:
    size = int.from_bytes(content[:8], "little")
    try:
        return json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("encoder_id", "")
    except ValueError:
        return ""


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no checkpoint (manifest.json is missing); train one with ptp pretrain"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: unreadable ({error}); copy the checkpoint again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this project")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {manifest.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; use the program version that wrote it, or train again"
        )
    names = {f"{part}.safetensors" for part in PARTS}
    if (
        not {"encoder_id", "config", "files"} <= manifest.keys()
        or names - manifest["files"].keys()
    ):
        raise CheckpointError(f"{path}: incomplete; copy the checkpoint again")
    return manifest


def _previous(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.previous")


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
