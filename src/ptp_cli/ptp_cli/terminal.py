# SPDX-License-Identifier: Apache-2.0
"""Keep the terminal for what this program says."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def libraries_into(path: Path) -> Iterator[TextIO]:
    """Send what C libraries print of themselves to a file; yields the terminal for our own.

    OpenCV names its codecs on every video, in the middle of the progress bars.
    """
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield terminal
    finally:
        terminal.flush()
        os.dup2(terminal.fileno(), 2)
        terminal.close()
