# SPDX-License-Identifier: Apache-2.0
"""Terminal display of a sweep: one live table, or plain lines in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from ptp_cli.sweep.sweep_config import method_name
from ptp_cli.sweep.sweep_schedule import SweepRow

COLORS = {"running": "bold", "finished": "green", "failed": "red", "waiting": "dim"}
ORDER = {"failed": 0, "running": 1, "queued": 2, "waiting": 3, "finished": 4}
FRAME = 6  # lines of the table's head, frame and foot


class LiveTable:
    """One table in the terminal, as tall as fits. It is a context manager."""

    def __init__(self, out: TextIO, places: int | None) -> None:
        self._console = Console(file=out, highlight=False)
        self._places = places
        self._live = Live(console=self._console, auto_refresh=False)
        self._shown_failures: set[str] = set()

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[SweepRow], now: float) -> None:
        """Redraw the table; new failures are printed above it."""
        for row in rows:
            if row.state == "failed" and row.run.name not in self._shown_failures:
                self._shown_failures.add(row.run.name)
                self._console.print(Text("\n".join(failure(row)), style="red"))
        self._live.update(self._drawn(rows, now), refresh=True)

    def _drawn(self, rows: Sequence[SweepRow], now: float) -> Group:
        table = Table(expand=False, pad_edge=False)
        for name in ("method", "task"):
            table.add_column(name, no_wrap=True)
        for name in ("seed", "epoch", "last evaluation", "epochs/h", "time left"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        fitting = max(3, self._console.height - FRAME)
        shown = sorted(rows, key=lambda row: ORDER[row.state])
        if len(shown) > fitting:
            shown = shown[:fitting]
        for row in [row for row in rows if row in shown]:
            run = row.run
            method = method_name(run.method, run.variant)
            cells = [method, run.task, str(run.seed), *standing(row, now)]
            table.add_row(*cells, row.state, style=COLORS.get(row.state, ""))
        foot = summary(rows, now, self._places)
        if hidden := len(rows) - len(shown):
            foot += f"; {hidden} more runs are not shown"
        return Group(table, Text(foot))


class PlainLines:
    """A line for each run that starts, is evaluated or ends. It is a context manager."""

    def __init__(self, out: TextIO, places: int | None) -> None:
        self._out = out
        self._places = places
        self._seen: dict[str, tuple] = {}

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def show(self, rows: Sequence[SweepRow], now: float) -> None:
        """Print the changes."""
        for row in rows:
            evaluation = row.progress.evaluation if row.progress else None
            standing_now = row.state, evaluation
            if self._seen.get(row.run.name) == standing_now or row.state in ("waiting", "queued"):
                continue
            self._seen[row.run.name] = standing_now
            if row.state == "failed":
                lines = failure(row)
            else:
                epoch, found, rate, left = standing(row, now)
                lines = [f"{row.run.name}: {row.state}, epoch {epoch}"]
                if found:
                    lines[0] += f", evaluation {found}"
                if row.state == "running" and rate:
                    lines[0] += f", {rate} epochs/h, time left {left}"
                if row.state == "finished":
                    lines.append(summary(rows, now, self._places))
            print("\n".join(lines), file=self._out, flush=True)


def standing(row: SweepRow, now: float) -> list[str]:
    """Epoch, newest evaluation, epochs an hour and time left of a run.

    After the last epoch the last updates and the last evaluation follow.
    """
    if (progress := row.progress) is None:
        return ["", "", "", ""]
    epoch = f"{progress.epochs}/{row.run.epochs}"
    evaluation = "" if progress.evaluation is None else str(progress.evaluation)
    rate, left = progress.rate, progress.seconds_left(now)
    if row.state != "running" or rate is None:
        return [epoch, evaluation, "", ""]
    left_text = "ending" if left is None else tqdm.format_interval(left)
    return [epoch, evaluation, f"{rate * 3600:.4g}", left_text]


def summary(rows: Sequence[SweepRow], now: float, places: int | None) -> str:
    """One line about the whole sweep."""
    known = [row for row in rows if row.progress is not None]
    done = sum(row.progress.epochs for row in known)
    total = sum(row.run.epochs for row in rows)
    counts = [(sum(row.state == state for row in rows), state) for state in reversed(ORDER)]
    text = ", ".join(f"{count} {state}" for count, state in counts if count)
    text = f"{len(rows)} runs: {text}; epoch {done} of {total}"
    rates = [row.progress.rate for row in known if row.progress.rate]
    open_rows = [row for row in known if row.state in ("waiting", "queued", "running")]
    if rates and open_rows:
        epochs = sum(row.run.epochs - row.progress.epochs for row in open_rows)
        at_once = min(len(open_rows), places or sum(row.state == "running" for row in rows) or 1)
        seconds = epochs / (sum(rates) / len(rates) * at_once)
        text += f", about {tqdm.format_interval(seconds)} left"
    return text


def failure(row: SweepRow) -> list[str]:
    """Lines about a failed run."""
    return [f"{row.run.name} failed:", *(f"  {line}" for line in row.why)]
