# SPDX-License-Identifier: Apache-2.0
"""Learned weights on the disk: a folder of safetensors and a JSON manifest; never a pickle.

The manifest names format, version and encoder, and has the sha256 of every file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ptp_core.data import json_text
from ptp_core.data.budget import MOST_WEIGHTS, OverBudget, read_bytes
from ptp_core.errors import CheckpointError

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class WeightsFormat:
    """One kind of folder. ``noun`` and ``command``, which makes one, stand in its errors."""

    name: str
    version: int
    parts: tuple[str, ...]
    manifest: str  # file name
    noun: str
    command: str

    def write(
        self, folder: Path, contents: Mapping[str, bytes], encoder_id: str, fields: dict[str, Any]
    ) -> None:
        """Write the parts' ``contents`` and a manifest with ``fields`` atomically.

        An existing folder of weights is replaced; after a kill either the old or the new one is
        there. Raises CheckpointError where the folder holds something else.
        """
        previous = _previous(folder)
        for there in (folder, previous):
            if there.exists() and not self._is_ours(there):
                raise CheckpointError(
                    f"{there} exists and holds no {self.noun}: name another folder, or move it "
                    "away"
                )
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = _new_folder(folder)
        files = {}
        for part, content in contents.items():
            digest = hashlib.sha256(content).hexdigest()
            files[f"{part}.safetensors"] = {"sha256": digest, "bytes": len(content)}
            _write_synced(partial / f"{part}.safetensors", content)
        manifest = {
            "format": self.name,
            "format_version": self.version,
            "encoder_id": encoder_id,
            "files": files,
            **fields,
        }
        _write_synced(partial / self.manifest, (json.dumps(manifest, indent=2) + "\n").encode())
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(folder, previous)
        os.rename(partial, folder)
        shutil.rmtree(previous, ignore_errors=True)

    def read_manifest(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Manifest, and the folder to read from. Raises CheckpointError, one line with the cure.

        That is another folder where a kill came between the two renames of ``write``.
        """
        if not folder.exists() and _previous(folder).exists():
            folder = _previous(folder)
        path = folder / self.manifest
        try:
            manifest = json_text.read(path)
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder}: no {self.noun} ({self.manifest} is missing); "
                f"train one with {self.command}"
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: unreadable ({error}); {self._again}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != self.name:
            raise CheckpointError(f"{path}: not a {self.noun} of this project")
        if manifest.get("format_version") != self.version:
            raise CheckpointError(
                f"{path}: format version {manifest.get('format_version')}, this program reads "
                f"{self.version}; use the program version that wrote it, or train again"
            )
        names = {f"{part}.safetensors" for part in self.parts}
        if (
            not {"encoder_id", "config", "files"} <= manifest.keys()
            or names - manifest["files"].keys()
        ):
            raise CheckpointError(f"{path}: incomplete; {self._again}")
        return folder, manifest

    def load_part(
        self, folder: Path, part: str, module: nn.Module, manifest: dict[str, Any]
    ) -> None:
        """Verify a part and put it into ``module``, as float32. Raises CheckpointError."""
        path = folder / f"{part}.safetensors"
        try:
            content = read_bytes(path, MOST_WEIGHTS)
        except OverBudget as error:
            raise CheckpointError(f"{path}: refused as weights ({error})") from error
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}); {self._again}"
            ) from error
        expected = manifest["files"][path.name]
        if len(content) != expected["bytes"]:
            raise CheckpointError(
                f"{path}: truncated, {len(content)} of {expected['bytes']} bytes; {self._again}"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected["sha256"]:
            raise CheckpointError(f"{path}: contents altered (sha256); {self._again}")
        encoder_id = manifest["encoder_id"]
        if encoder_id not in (digest, found := _encoder_id(content)):
            raise CheckpointError(
                f"{path}: trained on another encoder ({found[:8]} instead of "
                f"{encoder_id[:8]}); take all parts from one training"
            )
        try:
            tensors = {name: value.float() for name, value in load(content).items()}
            module.load_state_dict(tensors)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path}: does not fit its configuration ({reason})") from error

    def _is_ours(self, folder: Path) -> bool:
        """Whether it may be replaced: weights, whole or damaged, or nothing at all."""
        return folder.is_dir() and (
            (folder / self.manifest).is_file() or not any(folder.iterdir())
        )

    @property
    def _again(self) -> str:
        return f"copy the {self.noun} again"


def serialise(module: nn.Module, precision: str = "float32", encoder_id: str = "") -> bytes:
    """Return a module's weights as safetensors bytes; equal weights give equal bytes."""
    dtype = torch.float16 if precision == "float16" else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
        for name, value in sorted(module.state_dict().items())
    }
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    return save(tensors, metadata={"encoder_id": encoder_id} if encoder_id else None)


@torch.no_grad()
def round_to(module: nn.Module, precision: str) -> None:
    """Give a module's weights the values that a file of this precision holds."""
    module.load_state_dict(load(serialise(module, precision)))


def _encoder_id(content: bytes) -> str:
    size = int.from_bytes(content[:8], "little")
    try:
        return json_text.parse(content[8 : 8 + size]).get("__metadata__", {}).get("encoder_id", "")
    except ValueError:
        return ""


def _previous(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.previous")


def _new_folder(folder: Path) -> Path:
    """A folder beside it that nobody has, to be renamed."""
    for number in itertools.count():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.{number}.partial")
        with contextlib.suppress(FileExistsError):  # of a process that was killed
            partial.mkdir()
            return partial
    raise AssertionError


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
