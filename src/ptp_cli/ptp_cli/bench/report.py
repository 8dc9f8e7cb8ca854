# SPDX-License-Identifier: Apache-2.0
"""The file of figures: flat JSON, written anew after each group."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ptp_cli.bench import GROUPS
from ptp_cli.bench.settings import Figures
from ptp_cli.bench.targets import AUTHORS, TARGETS
from ptp_core.data.files import write_atomically
from ptp_core.errors import PtpError

DIGITS = 5  # significant ones that are kept


class Report:
    """Figures by name. Groups that the file holds from the same machine stay in it.

    Raises PtpError for a file that holds something else.
    """

    def __init__(self, path: Path, machine: Figures) -> None:
        self.path = path
        earlier = _read(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PtpError(f"{path.parent}: cannot be made ({error.strerror})") from error
        same = ("machine_cpu", "machine_cores")
        if any(earlier.get(name) != machine[name] for name in same):
            earlier = {}
        kept = {k: v for k, v in earlier.items() if not k.startswith("machine_")}
        self.figures: Figures = {**machine, **kept}

    def put(self, group: str, figures: Figures, origin: Figures) -> Figures:
        """Replace a group's figures, write the file, and return what the file says of them.

        ``origin`` (date, commit, ...) is kept under the group's name. A figure's target stands
        beside it, and so does the figure of the authors' code, unless the run was a quick one.
        """
        prefixes = GROUPS[group]
        entries: Figures = {f"{group}_{name}": _rounded(value) for name, value in origin.items()}
        for name, value in figures.items():
            if not name.startswith(prefixes):
                raise ValueError(f'figure "{name}" does not begin with one of {prefixes}')
            if isinstance(value, float) and not math.isfinite(value):
                raise PtpError(f"{group}: {name} came out as {value}")
            entries[name] = _rounded(value)
            if name in TARGETS:
                entries[f"{name}_target"] = str(TARGETS[name])
                entries[f"{name}_met"] = TARGETS[name].met(value)
            if name in AUTHORS and not origin.get("quick"):
                entries[f"{name}_authors"] = AUTHORS[name]
        kept = {k: v for k, v in self.figures.items() if not k.startswith(prefixes)}
        self.figures = {**kept, **entries}
        text = json.dumps(self.figures, indent=2) + "\n"
        write_atomically(self.path, lambda partial: partial.write_text(text, encoding="utf-8"))
        return entries


def table(figures: Figures) -> str:
    """Lines for people: figure, target, authors' figure."""
    beside = ("_target", "_met", "_authors")
    names = [
        name
        for name in figures
        if not (name.endswith(beside) and name.rpartition("_")[0] in figures)
    ]
    lines = []
    for name in names:
        line = f"  {name:<34}{figures[name]!s:>22}"
        if f"{name}_target" in figures:
            verdict = "met" if figures[f"{name}_met"] else "MISSED"
            line += f"   target {figures[f'{name}_target']}: {verdict}"
        if f"{name}_authors" in figures:
            line += f"   authors' code: {figures[f'{name}_authors']:g}"
        lines.append(line)
    return "\n".join(lines)


def _rounded(value: float | int | str) -> float | int | str:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _read(path: Path) -> Figures:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PtpError(f"{path}: not a file of figures ({error}); move it away") from error
    if not isinstance(content, dict):
        raise PtpError(f"{path}: not a file of figures; move it away")
    return content
