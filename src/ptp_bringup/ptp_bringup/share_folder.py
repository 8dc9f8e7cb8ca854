# SPDX-License-Identifier: Apache-2.0
"""Where the launch files, parameters and released models are, in a checkout or installed."""

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
    """Policies that practised one task each, from the released checkpoint."""
    return shared_root() / "models" / "finetuned"


def released_checkpoint() -> Path:
    """The checkpoint that comes with the project. Raises CheckpointError.

    Those of the methods that it is compared with lie beside it, by the methods' names.
    """
    folder = shared_root() / "models" / RELEASED
    if not (folder / "manifest.json").is_file():
        raise CheckpointError(
            f"{folder} holds no checkpoint; name one (checkpoint:= or --checkpoint)"
        )
    return folder
