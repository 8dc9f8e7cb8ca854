# SPDX-License-Identifier: Apache-2.0
"""Robot description of the PTP table: our own Sawyer URDF drawn with boxes."""

from importlib.resources import files
from pathlib import Path

__all__ = ["sawyer_urdf_path"]


def sawyer_urdf_path() -> str:
    """Return the path of the installed Sawyer URDF.

    Raises FileNotFoundError when the package was installed without its data.
    """
    path = Path(str(files(__package__) / "urdf" / "sawyer.urdf"))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: reinstall ptp_description with its package data (urdf/*.urdf)"
        )
    return str(path)
