# SPDX-License-Identifier: Apache-2.0
"""Where the nodes' lines go: a file, and the terminal for those that tell of trouble."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

TROUBLE = ("[ERROR]", "[FATAL]", " died (", "keeps dying", "could not be started", "not stopped")


class NodeLog(io.TextIOBase):
    """A text file that several threads print lines to; ``echo`` gets the lines with trouble."""

    def __init__(self, path: Path, echo: Callable[[str], None]) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115, closed by close()
        self._echo = echo
        self._lock = threading.Lock()
        # print() writes a text and its line end by two calls; each thread has a line of its own.
        self._begun = threading.local()

    def write(self, text: str) -> int:
        """Keep ``text``; whole lines reach the file."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            with self._lock:
                if not self._file.closed:
                    self._file.write(line + "\n")
                    self._file.flush()
            if any(word in line for word in TROUBLE):
                self._echo(line)
        return len(text)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()
        super().close()
