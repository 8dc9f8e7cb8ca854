# SPDX-License-Identifier: Apache-2.0
"""Paths of launch files, parameter files and released models, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

from ptp_core.errors import CheckpointError, ConfigError

RELEASED = "table"  # folder in models/


def shared_root() -> Path:
    """Folder that holds config/, launch/ and models/: the repository, or the installed package.

    Raises ConfigError where neither is found.
    """
    repository = Path(__file__).resolve().parents[3]
    if (repository / "config").is_dir():
        return repository
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("ptp_bringup"))
    except PackageNotFoundError:
        raise ConfigError(
            "config/ and models/ are not installed: source the workspace (install/setup.bash)"
        ) from None


def released_finetuned() -> Path:
    """Folder of the released fine-tuned policies, one for each task."""
    return shared_root() / "models" / "finetuned"


def released_checkpoint() -> Path:
    """Folder of the released checkpoint. Raises CheckpointError.

    The folders of the baselines' checkpoints lie beside it, with the methods' names.
    """
    folder = shared_root() / "models" / RELEASED
    if not (folder / "manifest.json").is_file():
        raise CheckpointError(
            f"{folder} holds no checkpoint; name one (checkpoint:= or --checkpoint)"
        )
    return folder
