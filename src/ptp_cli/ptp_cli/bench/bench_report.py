# SPDX-License-Identifier: Apache-2.0
"""The results file of the benchmark (flat JSON), with targets and the authors' figures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ptp_cli.bench import GROUPS
from ptp_cli.bench.measuring import Figures
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import PtpError


@dataclass(frozen=True)
class BenchTarget:
    """A limit that a figure must keep: at most, or at least."""

    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


TARGETS = {
    "sim_steps_per_s": BenchTarget(250.0, at_least=True),
    "sim_reset_ms": BenchTarget(50.0),
    "ik_median_ms": BenchTarget(1.0),
    "ik_residual_worst_mm": BenchTarget(0.1),
    "ik_joint_margin_rad": BenchTarget(0.1, at_least=True),
    "plan_descent_2_threads_s": BenchTarget(0.5),
    "plan_descent_cost_ratio": BenchTarget(1.05),
    "plan_warm_2_threads_s": BenchTarget(0.5),
    "plan_warm_cost_ratio": BenchTarget(1.05),
    "plan_best_time_share": BenchTarget(1 / 40),
    "plan_best_cost_ratio": BenchTarget(1.0),
    "replay_sample_speedup": BenchTarget(20.0, at_least=True),
    "replay_bytes_per_transition": BenchTarget(350.0),
    "peers_iql_ratio_paper_networks": BenchTarget(1.6, at_least=True),
    "peers_iql_ratio": BenchTarget(5.0, at_least=True),
    "control_latency_p99_ms": BenchTarget(20.0),
    "practice_ratio": BenchTarget(0.5, at_least=True),
}

# The authors' code (github.com/patrickhaoy/ptp) on a machine with two CPU cores and no GPU: one
# thread, unless the name says two.
AUTHORS = {
    "sim_steps_per_s": 26.0,  # rendered at 196 x 196, reduced to 48 x 48
    "sim_reset_ms": 420.0,
    "encode_ms": 4.4,
    "plan_paper_s": 156.5,
    "plan_paper_2_threads_s": 94.7,
    "plan_paper_networks_s": 156.5,
    "plan_paper_networks_2_threads_s": 94.7,
    "replay_sample_ms": 10.9,  # batch of 256
    "vqvae_images_per_s_paper_networks": 54.0,
    "iql_updates_per_s_paper_networks": 19.8,
}

DIGITS = 5  # significant ones that are kept


class BenchReport:
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
        prefixes = GROUPS[group].prefixes
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
        content = load_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PtpError(f"{path}: not a file of figures ({error}); move it away") from error
    if not isinstance(content, dict):
        raise PtpError(f"{path}: not a file of figures; move it away")
    return content
