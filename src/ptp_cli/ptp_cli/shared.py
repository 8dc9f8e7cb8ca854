# SPDX-License-Identifier: Apache-2.0
"""Find what the repository ships, from any folder: configuration files and released models."""

from __future__ import annotations

from pathlib import Path

from ptp_core.errors import CheckpointError, ConfigError


def shared_root() -> Path:
    """Folder that holds config/ and models/: the repository, or the installed ptp_bringup."""
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


def released_checkpoint() -> Path:
    """The checkpoint that comes with the project, in models/."""
    models = shared_root() / "models"
    found = sorted(manifest.parent for manifest in models.rglob("manifest.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(f"{models} holds no checkpoint; name one with --checkpoint")
    names = ", ".join(str(folder.relative_to(models)) for folder in found)
    raise CheckpointError(f"{models} holds several ({names}); name one with --checkpoint")
