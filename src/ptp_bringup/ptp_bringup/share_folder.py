# SPDX-License-Identifier: Apache-2.0
"""Where the launch files, parameters and released models are, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

from ptp_core.errors import CheckpointError, ConfigError


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


def released_baselines() -> Path:
    """Networks of the methods that are compared with, for the released checkpoint."""
    return shared_root() / "models" / "baselines"


def released_finetuned() -> Path:
    """Policies that practised one task each, from the released checkpoint."""
    return shared_root() / "models" / "finetuned"


def released_checkpoint() -> Path:
    """The checkpoint that comes with the project, in models/. Raises CheckpointError."""
    models = shared_root() / "models"
    found = sorted(manifest.parent for manifest in models.rglob("manifest.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(
            f"{models} holds no checkpoint; name one (checkpoint:= or --checkpoint)"
        )
    names = ", ".join(str(folder.relative_to(models)) for folder in found)
    raise CheckpointError(
        f"{models} holds several checkpoints ({names}); name one (checkpoint:= or --checkpoint)"
    )
