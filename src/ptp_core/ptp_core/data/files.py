# SPDX-License-Identifier: Apache-2.0
"""Write files so that they are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file, flush it to the disk, rename it to ``path``."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    write(partial)
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
