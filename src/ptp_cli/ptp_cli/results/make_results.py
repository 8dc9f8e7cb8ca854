# SPDX-License-Identifier: Apache-2.0
"""Writer of the results page, its README and its CSV files."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ptp_cli import __version__
from ptp_cli.machine import git_commit, labelled_facts, machine
from ptp_cli.options import shared_root
from ptp_cli.pages import environment
from ptp_cli.report.repeat_commands import practice_command
from ptp_cli.results import results_text as text
from ptp_cli.results.results_evaluations import EvaluationFile, ResultsConfig
from ptp_cli.results.results_pictures import draw_success, results_pictures
from ptp_cli.results.results_tables import (
    ResultsTable,
    episode_table,
    evaluation_csv,
    practice_csv,
    practice_table,
    read_practice,
    success_table,
)
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_core.practice.run_folder import PracticeRun
from ptp_core.training.manifest import MANIFEST

PAGE, README = "index.html", "README.md"
EVALUATIONS, PRACTICE = "evaluations.csv", "practice.csv"
DEFAULT_SOURCE = Path("config", "results.yaml")
DEMONSTRATIONS = "data/demos"


@dataclass(frozen=True)
class Section:
    """What the page has of a protocol."""

    protocol: str
    success: ResultsTable
    episodes: ResultsTable
    notes: list[tuple[str, str]]  # row, what a reader has to know
    commands: list[str]
    chart: str  # PNG in the folder of results, "" where nothing is measured


def make_results(
    config: ResultsConfig,
    source: Path,
    found: Sequence[EvaluationFile],
    missing: Sequence[str],
    out: Path,
    *,
    pictures: bool,
) -> Path:
    """Write everything into ``out``; the page's path.

    ``source``: the file of ``config``. ``found``: its evaluations. ``missing``: a line for each
    that has no figures. ``pictures``: with plans and films, for which episodes are done again;
    those of an earlier page stay. Raises InputError and PlanCancelled.
    """
    folder = None if config.practice is None else _folder(config.practice)
    pooled = read_practice(folder) if folder is not None else []
    shown = results_pictures(found, out) if pictures else []
    rows = [section for section in _sections(config, found, out) if section.success.rows]
    content: dict[str, Any] = {
        "lead": text.LEAD,
        "missing": missing,
        "reading": (*text.READING, *text.adaptation(_manifest(found))),
        "episodes": text.EPISODES,
        "sections": rows,
        "practice": practice_table(pooled) if pooled else None,
        "practice_text": text.PRACTICE,
        "practice_folder": config.practice,
        "practice_commands": [_practised(run) for group in pooled for run in group.runs],
        "findings": text.practice_findings(pooled),
        "paper_box": text.PAPER_BOX,
        "paper_rows": text.paper_rows(),
    }
    _write(out / EVALUATIONS, evaluation_csv(found))
    _write(out / PRACTICE, practice_csv(pooled))
    _write(out / README, _readme(content, source, out))
    _write(out / PAGE, _page(content, source, out, shown))
    return out / PAGE


def _sections(config: ResultsConfig, found: Sequence[EvaluationFile], out: Path) -> list[Section]:
    sections = []
    for protocol, rows in config.protocols.items():
        of_protocol = {s.wanted.row.name: s for s in found if s.wanted.protocol == protocol}
        notes = [(row.name, row.note) for row in rows if row.note]
        commands = [file.wanted.command for file in of_protocol.values()]
        tables = (make(config, rows, of_protocol) for make in (success_table, episode_table))
        chart, title = f"success_{protocol}.png", f"Success and 95 % interval, {protocol}"
        if not draw_success(out / chart, config.tasks, of_protocol, title):
            chart = ""
        sections.append(Section(protocol, *tables, notes, commands, chart))
    return sections


def _readme(content: dict[str, Any], source: Path, out: Path) -> str:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template("results_readme.md").render(
        source="" if source == DEFAULT_SOURCE else f" {shlex.quote(str(source))}",
        config_name=str(source),
        config_link=os.path.relpath(source, out),
        **content,
    )


def _page(content: dict[str, Any], source: Path, out: Path, shown: Sequence[Any]) -> str:
    templates = environment(Path(__file__).parent, inlined=out)
    templates.filters["prose"] = text.as_html
    return templates.get_template("results_page.html").render(
        pictures=[asdict(picture) for picture in shown],
        pictures_of=", ".join(dict.fromkeys(picture.protocol for picture in shown)),
        titles=_titles() if shown else {},
        own_command=shlex.join(["ptp", "results", str(source), "--out", str(out)]),
        machine=labelled_facts(machine()),
        version=__version__,
        commit=git_commit(),
        date=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        **content,
    )


def _practised(run: PracticeRun) -> str:
    command = practice_command(run)
    if run.settings.get("demonstrations"):
        command += f" --demonstrations {DEMONSTRATIONS}"
    return command


def _manifest(found: Sequence[EvaluationFile]) -> dict[str, Any]:
    """Of the first networks whose policy saw generated goals; {} where there are none."""
    for folder in dict.fromkeys(each.wanted.config.checkpoint for each in found):
        manifest = load_json(folder / MANIFEST)
        if "imagined" in manifest.get("metrics", {}):
            return manifest
    return {}


def _folder(name: str) -> Path:
    """A folder of the file: as given, or below the repository."""
    for folder in (Path(name), shared_root() / name):
        if folder.is_dir():
            return folder
    raise InputError(f"practice: {name}: no such folder")


def _titles() -> dict[str, str]:
    from ptp_sim.long_tasks import ALL_TASKS

    return {name: task.summary for name, task in ALL_TASKS.items()}


def _write(path: Path, content: str) -> None:
    write_atomically(path, lambda partial: partial.write_text(content, encoding="utf-8"))
