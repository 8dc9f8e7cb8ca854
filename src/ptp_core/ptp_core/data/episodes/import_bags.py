# SPDX-License-Identifier: Apache-2.0
"""Bags, ours and others', into one file of demonstrations, with a report of what was refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_core.config.loading import to_dict
from ptp_core.data.demo_file import write_file
from ptp_core.data.episodes.audit import AUDIT_FILE
from ptp_core.data.episodes.bag_writer import METADATA_FILE
from ptp_core.data.episodes.candidate import Candidate, Selection, select
from ptp_core.data.episodes.definitions import Definitions
from ptp_core.data.episodes.import_own import is_own, read_own
from ptp_core.data.episodes.import_plain import Picture, read_plain
from ptp_core.data.episodes.mapping import BagMapping
from ptp_core.data.episodes.store import SESSION_FILE, Session, read_json
from ptp_core.data.files import write_atomically
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import EpisodeError, PtpError

BAG_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class Source:
    """A bag to import."""

    path: Path
    label: str = "success"
    own: bool = False
    dropped: bool = False


@dataclass(frozen=True)
class Summary:
    """What an import made."""

    trajectories: int
    steps: int
    episodes: int  # accepted
    reports: list[dict[str, Any]]


def find_sources(paths: Iterable[Path]) -> list[Source]:
    """Bags behind ``paths``: sessions, folders of bags, bags. EpisodeError when one is none."""
    found: list[Source] = []
    for path in paths:
        if (path / SESSION_FILE).is_file():
            session = Session(path)
            found += [
                Source(session.path(e), e.label, own=True, dropped=e.dropped)
                for e in session.entries()
            ]
        elif _is_bag(path):
            found.append(_source(path))
        else:
            inside = sorted(p for p in path.iterdir() if _is_bag(p)) if path.is_dir() else []
            if not inside:
                raise EpisodeError(
                    f"{path}: no bag and no session; give folders with metadata.yaml, .mcap or "
                    ".db3 files, or a session folder"
                )
            found += [_source(inner) for inner in inside]
    return found


def _is_bag(path: Path) -> bool:
    return (path / METADATA_FILE).is_file() or (path.is_file() and path.suffix in BAG_SUFFIXES)


def _source(path: Path) -> Source:
    if not is_own(path):
        return Source(path)
    audit = path / AUDIT_FILE
    content = read_json(audit, "no audit") if audit.is_file() else {}
    label, dropped = content.get("label", "unlabelled"), content.get("dropped", False)
    return Source(path, label, own=True, dropped=dropped)


def import_bags(
    sources: Sequence[Source],
    out: Path,
    *,
    labels: Sequence[str] = ("success",),
    mapping: BagMapping | None = None,
    picture: Picture | None = None,
    selection: Selection | None = None,
    report: Path | None = None,
    progress: Callable[[Iterable[Source]], Iterable[Source]] = iter,
) -> Summary:
    """Write the steps of ``sources`` that may be learned from into the file ``out``.

    ``mapping`` and ``picture`` are needed for bags that are not ours. A bag that cannot be read
    is in the report with its reason and does not end the import. Raises EpisodeError when nothing
    is usable; the report is written then, too.
    """
    if out.exists():
        raise EpisodeError(f"{out} exists: choose another file, or remove it")
    selection = selection or Selection()
    definitions: Definitions | None = None
    trajectories: list[Trajectory] = []
    reports: list[dict[str, Any]] = []
    scales: dict[tuple[float, float], str] = {}
    for source in progress(sources):
        if source.own and (source.dropped or source.label not in labels):
            reason = "it was dropped" if source.dropped else f"it is labelled {source.label}"
            reports.append(_refusal(source, f"{reason}: not asked for"))
            continue
        try:
            if source.own:
                definitions = definitions or Definitions()
                candidate = read_own(source.path, definitions, source.label)
            else:
                candidate = _read_plain(source, mapping, picture)
            _check_scale(candidate, scales)
        except PtpError as error:
            reports.append(_refusal(source, str(error)))
            continue
        pieces, figures = select(candidate, selection, len(trajectories))
        trajectories += pieces
        reports.append(figures)
    steps = sum(len(piece.actions) for piece in trajectories)
    accepted = sum(entry["accepted"] for entry in reports)
    summary = Summary(len(trajectories), steps, accepted, reports)
    if report is not None:
        write_report(report, summary)
    if not trajectories:
        raise EpisodeError(_nothing(reports))
    translation, rotation = next(iter(scales))
    description = {
        "env": "",
        "env_kwargs": {},
        "source": "bags",
        "episodes": [entry["name"] for entry in reports if entry["accepted"]],
        "labels": list(labels),
        "action_scale": {"translation": translation, "rotation": rotation},
        "selection": dataclasses.asdict(selection),
        "mapping": None if mapping is None else to_dict(mapping),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_file(out, description, trajectories)
    except OSError as error:
        raise EpisodeError(f"{out}: cannot be written ({error})") from error
    return summary


def _read_plain(source: Source, mapping: BagMapping | None, picture: Picture | None) -> Candidate:
    if mapping is None or picture is None:
        raise EpisodeError(
            f"{source.path}: not an episode of ours; give --mapping FILE that names its topics"
        )
    return read_plain(source.path, mapping, picture)


def _check_scale(candidate: Candidate, scales: dict[tuple[float, float], str]) -> None:
    scale = (candidate.translation, candidate.rotation)
    scales.setdefault(scale, candidate.name)
    if len(scales) > 1:
        del scales[scale]
        (other,) = scales
        raise EpisodeError(
            f"its actions are scaled by {scale[0]:g} m and {scale[1]:g} rad, those of "
            f"{scales[other]} by {other[0]:g} m and {other[1]:g} rad: import them apart"
        )


def _refusal(source: Source, reason: str) -> dict[str, Any]:
    return {
        "name": source.path.name,
        "accepted": False,
        "reason": reason,
        "label": source.label,
        "steps": 0,
        "kept": 0,
        "pieces": 0,
    }


def _nothing(reports: list[dict[str, Any]]) -> str:
    if not reports:
        return "nothing to import: there is no episode"
    first = reports[0]
    others = f"; so are {len(reports) - 1} others" if len(reports) > 1 else ""
    return f"nothing usable: {first['name']} is refused, {first['reason']}{others}"


def write_report(path: Path, summary: Summary) -> None:
    """Write the report as JSON."""
    text = json.dumps(dataclasses.asdict(summary), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def report_lines(summary: Summary) -> list[str]:
    """Lines of the report for people, one or two an episode."""
    lines = []
    for entry in summary.reports:
        if not entry["accepted"]:
            lines.append(f"{entry['name']}: refused: {entry['reason']}")
            continue
        parts = [f"{entry['kept']} of {entry['steps']} steps"]
        if entry["pieces"] > 1:
            parts.append(f"in {entry['pieces']} pieces")
        if entry["trimmed_idle"]:
            parts.append(f"{entry['trimmed_idle']} idle ones trimmed")
        if entry["too_short"]:
            parts.append(f"{entry['too_short']} in pieces that are too short")
        parts += [f"{count} refused ({reason})" for reason, count in entry["refused"].items()]
        if entry["duplicate_images"]:
            parts.append(f"{entry['duplicate_images']} pictures equal the one before")
        lines.append(f"{entry['name']}: {', '.join(parts)}")
        lines.append(f"  {_camera(entry)}")
    return lines


def _camera(entry: dict[str, Any]) -> str:
    parts = []
    if entry.get("image_rate_hz"):
        parts.append(f"{entry['image_rate_hz']:.3g} pictures a second")
    if entry.get("longest_image_gap_s") is not None:
        parts.append(f"longest gap {entry['longest_image_gap_s'] * 1e3:.0f} ms")
    if age := entry.get("image_age_s"):
        parts.append(f"age {age['median'] * 1e3:.0f} ms, at most {age['max'] * 1e3:.0f} ms")
    low, high = entry["action_range"]
    parts.append(f"actions {min(low[:4]):.2f} to {max(high[:4]):.2f}")
    return ", ".join(parts)
