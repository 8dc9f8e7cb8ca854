# SPDX-License-Identifier: Apache-2.0
"""Files of weights: safetensors with a sha256 in a manifest; never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ptp_core.data.file_limits import MOST_WEIGHTS, OverBudget, load_json, parse_json, read_bytes
from ptp_core.errors import CheckpointError
from ptp_core.training.manifest import MANIFEST, FolderFormat, previous

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class StoredFile:
    """A file of weights and its entry in a manifest."""

    path: Path
    sha256: str
    size: int  # bytes
    encoder_id: str  # of the encoder that it was trained on; "" for none
    again: str  # for errors: how to repair a damaged file

    def load_into(self, module: nn.Module) -> None:
        """Verify the file and load it into ``module``, as float32. Raises CheckpointError."""
        content = self.verified()
        if self.encoder_id not in (self.sha256, found := _encoder_id(content)):
            raise CheckpointError(
                f"{self.path}: trained on another encoder ({found[:8]} instead of "
                f"{self.encoder_id[:8]}); take all parts from one training"
            )
        try:
            tensors = {name: value.float() for name, value in load(content).items()}
            module.load_state_dict(tensors)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.path}: does not fit its configuration ({reason})"
            ) from error

    def verified(self) -> bytes:
        """Read the file's bytes. Raises CheckpointError where their sha256 is another."""
        try:
            content = read_bytes(self.path, MOST_WEIGHTS)
        except OverBudget as error:
            raise CheckpointError(f"{self.path}: refused as weights ({error})") from error
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be read ({error.strerror}); {self.again}"
            ) from error
        if len(content) != self.size:
            raise CheckpointError(
                f"{self.path}: truncated, {len(content)} of {self.size} bytes; {self.again}"
            )
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise CheckpointError(f"{self.path}: contents altered (sha256); {self.again}")
        return content


def write_folder(folder: Path, files: Mapping[str, bytes], kind: FolderFormat) -> None:
    """Write ``files``, by their paths in ``folder``, atomically.

    An existing folder of this kind is replaced; after a kill either the old or the new one is
    there. Raises CheckpointError where the folder holds something else.
    """
    before = previous(folder)
    for there in (folder, before):
        if there.exists() and not _may_be_replaced(there, kind):
            raise CheckpointError(
                f"{there} exists and holds no {kind.noun}: name another folder, or move it away"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _new_folder(folder)
    for name, content in files.items():
        (partial / name).parent.mkdir(exist_ok=True)
        _write_synced(partial / name, content)
    if folder.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.rename(folder, before)
    os.rename(partial, folder)
    shutil.rmtree(before, ignore_errors=True)


def _may_be_replaced(folder: Path, kind: FolderFormat) -> bool:
    """Whether the folder is empty, or holds weights of this kind, whole or damaged."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        manifest = load_json(folder / MANIFEST)
    except OSError:
        return False
    except ValueError:  # damaged: then nothing but weights may lie beside it
        files = (path for path in folder.rglob("*") if not path.is_dir())
        return all(path.name == MANIFEST or path.suffix == ".safetensors" for path in files)
    return isinstance(manifest, dict) and manifest.get("format") == kind.name


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
    """Round a module's weights to the values that a file of this precision stores."""
    module.load_state_dict(load(serialise(module, precision)))


def _encoder_id(content: bytes) -> str:
    size = int.from_bytes(content[:8], "little")
    try:
        return parse_json(content[8 : 8 + size]).get("__metadata__", {}).get("encoder_id", "")
    except ValueError:
        return ""


def _new_folder(folder: Path) -> Path:
    """Make a new temporary folder beside ``folder``, to be renamed."""
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
