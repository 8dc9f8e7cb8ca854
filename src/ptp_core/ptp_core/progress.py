# SPDX-License-Identifier: Apache-2.0
"""Progress bars on a terminal; elsewhere a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

PAUSE = 5.0  # s between two lines where the output is no terminal
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed}, time left {remaining}{postfix}"
_OPEN = "{desc}: {n_fmt} {unit}, {elapsed}{postfix}"


class Bar(tqdm):
    """A tqdm bar; where ``file`` (None: stderr) is no terminal, lines without control characters.

    The first line is written at once, the last one at the end, and in between at most one every
    ``mininterval`` s (`PAUSE`). Takes the options of tqdm.
    """

    def __init__(
        self, iterable: Iterable | None = None, *, file: TextIO | None = None, **options: Any
    ) -> None:
        out = sys.stderr if file is None else file
        self._plain = not out.isatty()
        self._said = -float("inf")
        self._last = ""
        if self._plain:
            options.setdefault("mininterval", PAUSE)
            options["unit"] = options.get("unit", "it").strip()
            options |= {
                "bar_format": _OPEN,  # until a total is known, perhaps later
                "miniters": 0,
                "dynamic_ncols": False,
            }
        super().__init__(iterable, file=out, **options)

    def show(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done; a callback for work that counts by itself."""
        self.total = total
        self.update(done - self.n)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the state, unless a line was written less than ``mininterval`` s ago."""
        if not self._plain:
            return super().display(msg, pos)
        if msg != "" and time.monotonic() - self._said >= self.mininterval:
            self._write()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Remove the bar from the terminal; lines stay."""
        if not self._plain:
            super().clear(nolock)

    def close(self) -> None:
        """End the bar, with a last line where it stays."""
        if self._plain and not self.disable:
            if self.leave is not False:
                self._write()
            self.sp = None  # otherwise tqdm ends with an empty line
        super().close()

    def _write(self) -> None:
        self._said = time.monotonic()
        self.bar_format = _OPEN if self.total is None else _LINE
        line = str(self)
        if line != self._last:
            self._last = line
            self.fp.write(f"{line}\n")
            getattr(self.fp, "flush", lambda: None)()
