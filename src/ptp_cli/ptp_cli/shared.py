# SPDX-License-Identifier: Apache-2.0
"""Find what the repository ships, from any folder: configuration files and released models."""

from __future__ import annotations

from pathlib import Path

from ptp_bringup.share_folder import (
    released_checkpoint,
    released_finetuned,
    shared_root,
)

__all__ = [
    "config_file",
    "released_checkpoint",
    "released_finetuned",
    "shared_root",
]


def config_file(name: str) -> Path:
    """Path of a configuration file: as given, below the shared folder, or "quick" for a preset."""
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    root = shared_root()
    for candidate in (root / path, root / "config" / "train" / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    return path
