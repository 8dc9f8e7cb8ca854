# SPDX-License-Identifier: Apache-2.0
"""Reader of practice runs, sweeps and evaluation files for a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_cli.sweep.sweep_config import ABOUT, method_name, read_about, run_name
from ptp_core.data.file_limits import load_json
from ptp_core.errors import InputError
from ptp_core.practice.run_folder import SETTINGS, PracticeRun, is_run, read_run, with_todays_name


@dataclass(frozen=True)
class Offline:
    """A task's figures in a file of `ptp evaluate`."""

    source: str
    method: str
    task: str
    seed: int
    protocol: str
    epoch: int  # offline epochs end at 0
    episodes: int
    successes: int
    networks: str | None  # sha256 of the policy that practises; None: it has one of its own
    values: dict[str, Any] = field(repr=False, compare=False)  # all that the file says


@dataclass
class FoundRuns:
    """What a report is made of."""

    runs: list[PracticeRun] = field(default_factory=list)
    offline: list[Offline] = field(default_factory=list)
    # Of sweeps, not begun: name of the method in its variant, task, seed.
    missing: list[tuple[str, str, int]] = field(default_factory=list)
    variants: dict[Path, str] = field(default_factory=dict)  # by folder of a run in one
    controls: dict[str, str] = field(default_factory=dict)  # variant -> what is subtracted from it
    # Method -> variant -> the variant that it equals, so that it was not run.
    same_variants: dict[str, dict[str, str]] = field(default_factory=dict)
    sweeps: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    named: tuple[str, ...] = ()  # environments that the user lets run, beside the shipped ones
    complaints: list[str] = field(default_factory=list)  # what was left out, a line each

    def variant(self, run: PracticeRun) -> str:
        """Variant of a run's sweep; "": none."""
        return self.variants.get(run.folder, "")

    def name(self, run: PracticeRun) -> str:
        """Name of a run's method in its variant, see `method_name`."""
        return method_name(run.settings["method"], self.variant(run))

    @property
    def methods(self) -> list[str]:
        """Names of methods, each in its variants, in the order in which they were found."""
        return _unique(self, "method", 0)

    @property
    def tasks(self) -> list[str]:
        """By name."""
        return sorted(_unique(self, "task", 1))

    @property
    def protocol(self) -> str:
        """The one of everything in it."""
        (name,) = {run.settings["protocol"] for run in self.runs} | {
            entry.protocol for entry in self.offline
        }
        return name


def gather(sources: Sequence[str]) -> FoundRuns:
    """Read everything; what is damaged or does not fit is left out with a complaint.

    A source is a folder of a run, of a sweep or with such folders in it, or a JSON file of
    `ptp evaluate`; FILE@-50 says that its networks are those of 50 epochs before the end of
    offline training. Raises InputError where nothing is left.
    """
    found = FoundRuns()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            _add_folder(found, path)
        else:
            _add_file(found, source)
    _same_protocol(found)
    _same_networks(found)
    if not found.runs and not found.offline:
        reasons = "; ".join(found.complaints) or "nothing was practised yet"
        raise InputError(f"nothing to report: {reasons}")
    return found


def _add_folder(found: FoundRuns, folder: Path) -> None:
    abouts = sorted(path.parent for path in folder.rglob(ABOUT))
    inside = {path.parent for path in folder.rglob(SETTINGS)}
    runs: dict[Path, None] = dict.fromkeys([folder] if is_run(folder) else [])
    for sweep in abouts:
        try:
            about = read_about(sweep)
        except InputError as error:
            found.complaints.append(str(error))
            continue
        found.sweeps.append((sweep, about))
        keys = (
            (m, t, s, v)
            for m in about["methods"]
            for v in about["variants"] or ("",)
            if v not in about["same_variants"].get(m, {})
            for t in about["tasks"]
            for s in about["seeds"]
        )
        for method, task, seed, variant in keys:
            run = sweep / run_name(method, task, seed, variant)
            if is_run(run):
                runs[run] = None
            else:
                found.missing.append((method_name(method, variant), task, seed))
    runs |= dict.fromkeys(sorted(path for path in inside if is_run(path)))
    if not runs and not abouts:
        found.complaints.append(f"{folder}: no run of ptp practice or ptp sweep is in it")
    for run in runs:
        _add_run(found, run)


def _add_run(found: FoundRuns, folder: Path) -> None:
    try:
        run = read_run(folder)
    except InputError as error:
        found.complaints.append(str(error))
        return
    _add_variant(found, folder)
    for other in found.runs:
        if other.folder.resolve() == folder.resolve():
            return
        same = all(other.settings[name] == run.settings[name] for name in ("task", "seed"))
        if same and found.name(other) == found.name(run):
            found.complaints.append(
                f"{folder}: the same method, task and seed as {other.folder}: left out"
            )
            return
    found.runs.append(run)


def _add_variant(found: FoundRuns, folder: Path) -> None:
    """Note a run's variant; its ``folder`` is VARIANT/METHOD/TASK/seed_N in that of its sweep."""
    parents = folder.resolve().parents
    if len(parents) < 4 or not (parents[3] / ABOUT).is_file():
        return
    try:
        about = read_about(parents[3])
    except InputError:
        return  # the sweep's folder, where it is given, is complained of
    if parents[2].name in about["variants"]:
        found.variants[folder] = parents[2].name
        found.controls |= about["controls"]
        found.same_variants |= about["same_variants"]


def _add_file(found: FoundRuns, source: str) -> None:
    name, epoch = re.fullmatch(r"(.*?)(?:@([+-]?\d+))?", source, re.DOTALL).groups()
    path = Path(source) if Path(source).is_file() else Path(name)
    number = int(epoch or 0) if path != Path(source) else 0
    try:
        if number > 0:
            raise ValueError(f"epoch {number}: offline epochs are 0 and below")
        values = with_todays_name(load_json(path))
        if (subgoals := values.get("subgoals", "planned")) != "planned":
            raise ValueError(f"{subgoals} subgoals are a control, no method's figures")
        entries = [
            Offline(
                source,
                str(values["method"]),
                task,
                int(values["seed"]),
                str(values["protocol"]),
                number,
                int(figures["episodes"]),
                int(figures["successes"]),
                values["checkpoint_sha256"].get("iql.safetensors"),
                values,
            )
            for task, figures in values["tasks"].items()
        ]
        if any(
            not 0 <= entry.successes <= entry.episodes or not entry.episodes for entry in entries
        ):
            raise ValueError("more successes than episodes")
    except OSError as error:
        found.complaints.append(f"{source}: cannot be read ({error.strerror})")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found.complaints.append(f"{source}: no figures of ptp evaluate ({error!r})")
    else:
        found.offline += entries


def _same_protocol(found: FoundRuns) -> None:
    """Fixed scenes and varied ones are different tasks: keep what is like the first."""
    everything = [*found.runs, *found.offline]
    wanted = _protocol(everything[0]) if everything else ""
    for entry in everything:
        if _protocol(entry) != wanted:
            where = entry.folder if isinstance(entry, PracticeRun) else entry.source
            found.complaints.append(
                f"{where}: protocol {_protocol(entry)}, not {wanted}: give it a report of its own"
            )
    found.runs = [run for run in found.runs if _protocol(run) == wanted]
    found.offline = [entry for entry in found.offline if entry.protocol == wanted]


def _same_networks(found: FoundRuns) -> None:
    """Figures at epoch 0 must be of the networks that practice began with.

    Methods with a policy of their own, which does not practise, are let through.
    """
    begun = {
        run.settings.get("checkpoint_sha256", {}).get("iql.safetensors") for run in found.runs
    }
    kept = []
    for entry in found.offline:
        if begun and entry.epoch == 0 and entry.networks not in (None, *begun):
            line = f"{entry.source}: other networks than practice began with: name their epoch, "
            line += f"{entry.source}@-50 for example, or leave it out"
            if line not in found.complaints:
                found.complaints.append(line)
        else:
            kept.append(entry)
    found.offline = kept


def _protocol(entry: PracticeRun | Offline) -> str:
    return entry.settings["protocol"] if isinstance(entry, PracticeRun) else entry.protocol


def _unique(found: FoundRuns, name: str, place: int) -> list[str]:
    values: Iterable[str] = (
        *(found.name(run) if name == "method" else run.settings[name] for run in found.runs),
        *(getattr(entry, name) for entry in found.offline),
        *(key[place] for key in found.missing),
    )
    return list(dict.fromkeys(values))
