# SPDX-License-Identifier: Apache-2.0
"""Manifests of checkpoints and encoders: the contents of a folder, without loading networks.

A checkpoint refers to parts and encoder by relative paths, so that several can share files:

checkpoint/manifest.json   format, version, agent, spec, config, encoder, parts, metrics
checkpoint/*.safetensors   the parts that are its own
encoder/manifest.json      format, version, type, id, config, file, bytes, precision
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ptp_core.data.file_limits import load_json
from ptp_core.errors import CheckpointError

MANIFEST = "manifest.json"
ENCODER_FOLDER = "encoder"  # default place of the encoder, inside the checkpoint's folder


@dataclass(frozen=True)
class FolderFormat:
    """A kind of folder of weights. Errors use ``noun``, and ``command``, which makes one."""

    name: str
    version: int
    noun: str
    command: str
    keys: tuple[str, ...]  # that its manifest must have

    def read(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Read the manifest; return it and the folder to read from. Raises CheckpointError.

        That is another folder after a kill between the two renames of a write.
        """
        if not folder.exists() and previous(folder).exists():
            folder = previous(folder)
        path = folder / MANIFEST
        try:
            manifest = load_json(path)
        except FileNotFoundError:
            if (folder / "baselines.json").is_file():
                raise _old(folder / "baselines.json") from None
            raise CheckpointError(
                f"{folder}: no {self.noun} ({MANIFEST} is missing); train one with {self.command}"
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: unreadable ({error}); {self.again}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != self.name:
            raise CheckpointError(f"{path}: not a {self.noun} of this project")
        if "format_version" in manifest:
            raise _old(path)
        if manifest.get("version") != self.version:
            raise CheckpointError(
                f"{path}: version {manifest.get('version')}, this program reads {self.version}; "
                "use the program version that wrote it, or train again"
            )
        if missing := [key for key in self.keys if key not in manifest]:
            raise CheckpointError(f"{path}: incomplete, no {missing[0]}; {self.again}")
        return folder, manifest

    @property
    def again(self) -> str:
        """How to repair a damaged folder, for errors."""
        return f"copy the {self.noun} again"


CHECKPOINT = FolderFormat(
    name="ptp-checkpoint",
    version=2,
    noun="checkpoint",
    command="ptp pretrain",
    keys=("agent", "spec", "config", "encoder", "parts", "metrics"),
)
ENCODER = FolderFormat(
    name="ptp-encoder",
    version=1,
    noun="encoder",
    command="ptp pretrain",
    keys=("type", "id", "config", "file", "bytes", "precision"),
)


@dataclass(frozen=True)
class Contents:
    """Contents of a checkpoint's folder, from its manifest."""

    folder: Path
    agent: str  # default method
    parts: Mapping[str, Path]  # file of each part
    sha256: Mapping[str, str]  # of each file of parts and encoder, by the file's name
    encoder: Path | None  # its folder
    encoder_id: str  # "" without an encoder
    files: Mapping[Path, str]  # sha256 of each file


def read_contents(folder: str | Path) -> Contents:
    """Read a checkpoint's manifest, and its encoder's. Raises CheckpointError."""
    source, manifest = CHECKPOINT.read(Path(folder))
    try:
        entries = {name: dict(entry) for name, entry in manifest["parts"].items()}
        parts = {name: inside(source, entry["file"]) for name, entry in entries.items()}
        files = {parts[name]: str(entry["sha256"]) for name, entry in entries.items()}
        encoder, encoder_id = encoder_folder(source, manifest), ""
        if encoder is not None:
            encoder_id = str(manifest["encoder"]["id"])
            files[encoder / ENCODER.read(encoder)[1]["file"]] = encoder_id
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{source / MANIFEST}: damaged ({error!r}); {CHECKPOINT.again}"
        ) from error
    sha256 = dict(sorted((path.name, digest) for path, digest in files.items()))
    return Contents(source, str(manifest["agent"]), parts, sha256, encoder, encoder_id, files)


def inside(folder: Path, relative: str) -> Path:
    """Resolve a file or folder that the manifest in ``folder`` names.

    It may be in the parent of the checkpoint's folder or in that one's parent, so that checkpoints
    can share encoders and parts. Raises CheckpointError for an absolute path or another place.
    """
    top = folder.resolve().parent.parent
    found = (folder / PurePosixPath(relative)).resolve()
    if PurePosixPath(relative).is_absolute() or not found.is_relative_to(top):
        raise CheckpointError(
            f"{folder / MANIFEST}: names {relative}, which is not below {top}: copy the "
            "checkpoint together with what it shares"
        )
    return found


def encoder_folder(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """Folder of a checkpoint's encoder: the one that it names, else ``encoder`` in it.

    None for an agent without an encoder. Raises CheckpointError where it is in neither place.
    """
    about = manifest["encoder"]
    if about is None:
        return None
    named = inside(folder, about["folder"])
    for found in (named, folder / ENCODER_FOLDER):
        if (found / MANIFEST).is_file():
            return found
    raise CheckpointError(
        f"{folder}: its encoder is neither in {named} nor in {folder / ENCODER_FOLDER}: copy it "
        "to one of them"
    )


def previous(folder: Path) -> Path:
    """Path of the old folder between the two renames that replace it."""
    return folder.with_name(f"{folder.name}.previous")


def listed(names: Collection[str]) -> str:
    """Join names for errors: "a, b", or "nothing"."""
    return ", ".join(names) or "nothing"


def _old(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: written by an earlier version of this program; convert it once with "
        f"ptp convert-checkpoint {path.parent} NEW, and name NEW"
    )
