# SPDX-License-Identifier: Apache-2.0
"""Terminal output of the demo: progress bars, and error lines of nodes."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ptp_core.progress import Bar

TROUBLE = ("[ERROR]", "[FATAL]", " died (", "keeps dying", "could not be started", "not stopped")


class NodeLog(io.TextIOBase):
    """A text file that several threads print lines to; ``echo`` gets the error lines."""

    def __init__(self, path: Path, echo: Callable[[str], None]) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115, closed by close()
        self._echo = echo
        self._lock = threading.Lock()
        # print() writes a text and its line end in two calls, so each thread has its own buffer.
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


_ALL = "{desc} {percentage:3.0f}% |{bar:20}| {elapsed}, time left {remaining}{postfix}"
_ONE = (
    "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}, time left {remaining}, {rate_fmt}{postfix}"
)
_OPEN = "{desc} {elapsed}{postfix}"


class Progress:
    """Two bars on a terminal, counted in control steps. Only `say` is thread-safe."""

    def __init__(
        self, episodes: int, steps: int, out: TextIO = sys.stderr, pause: float | None = None
    ) -> None:
        self._out = out
        self._steps = steps
        # s between refreshes. On a terminal bars move often; in a log each is text that stays.
        self._pause = (0.2 if out.isatty() else 5.0) if pause is None else pause
        self._done = 0
        self._results: dict[str, list[str]] = {}
        self._stage: str | None = None
        self._bar: Bar | None = None
        self._all = self._new("demo", episodes * steps, "step", _ALL, position=0)

    def stage(self, name: str, total: int | None = None, unit: str = "it") -> None:
        """Start a new stage; without ``total`` only its time is shown."""
        if self._stage == name:
            return
        if self._bar is not None:
            self._bar.close()
        self._stage = name
        self._bar = self._new(name, total, unit, _OPEN if total is None else _ONE, position=1)

    def reached(self, count: int, note: str = "") -> None:
        """Set the progress of the stage."""
        self.note(note)
        if self._bar is not None:
            self._bar.update(count - self._bar.n)

    def note(self, text: str) -> None:
        """Show a text beside the stage."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def stepped(self, count: int, note: str) -> None:
        """Set the number of control steps of this episode."""
        self.reached(count, note)
        self._all.update(self._done * self._steps + count - self._all.n)

    def beat(self) -> None:
        """Update the times of the bars."""
        for bar in (self._all, self._bar):
            if bar is not None:
                bar.update(0)

    def episode_done(self, task: str, word: str) -> None:
        """An episode of ``task`` has ended with "success", "no success" or "failed"."""
        self._done += 1
        self._results.setdefault(task, []).append(word)
        notes = (f"{name} {', '.join(words)}" for name, words in self._results.items())
        self._all.set_postfix_str("; ".join(notes), refresh=False)
        self._all.update(self._done * self._steps - self._all.n)
        self._all.refresh()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        Bar.write(text, file=self._out)

    def close(self) -> None:
        """Close the bars; the terminal keeps its content."""
        for bar in (self._bar, self._all):
            if bar is not None:
                bar.close()
        self._bar = None

    def _new(self, name: str, total: int | None, unit: str, form: str, position: int) -> Bar:
        return Bar(
            total=total,
            desc=name,
            unit=f" {unit}",
            bar_format=form,
            position=position,
            leave=position == 0,
            mininterval=self._pause,
            miniters=0,
            smoothing=0.0 if position == 0 else 0.1,
            file=self._out,
            dynamic_ncols=True,
        )
