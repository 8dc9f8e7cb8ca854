# SPDX-License-Identifier: Apache-2.0
"""Import our bags and plain ones into one file of demonstrations; report what is left out."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.config.loading import to_dict
from ptp_core.data.demo_file import write_file
from ptp_core.data.files import check_file, reserved_file, write_atomically
from ptp_core.data.trajectory import Trajectory
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_mapping import BagMapping
from ptp_core.episodes.bag_reader import (
    STORAGE,
    custom_data,
    first_time,
    messages,
    open_bag,
    read_rows,
    storage_files,
    unreadable,
)
from ptp_core.episodes.bag_writer import METADATA_FILE
from ptp_core.episodes.episode import EpisodeInfo, Step, instructed
from ptp_core.episodes.import_filter import Candidate, Selection, select
from ptp_core.episodes.import_plain import Picture, read_plain
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import AUDIT_FILE, SESSION_FILE, Session, read_json
from ptp_core.episodes.transition_builder import assemble
from ptp_core.errors import EpisodeError, PtpError, quoted

MISSING = "an observation, state or step is missing"
NO_PICTURE = "its picture is missing"
NO_BAG = (
    "no bag and no session; give folders with metadata.yaml, .mcap or .db3 files, or a session "
    "folder"
)
OTHER_FILES = {  # suffix -> why such a file cannot be read
    ".bag": "a bag of ROS 1: `rosbags-convert --src FILE --dst FOLDER` makes one of ROS 2",
    ".zstd": "compressed, and there is no metadata.yaml: `zstd -d FILE`, then name the result",
}
DEPTH = 3  # levels of folders that are searched
PART = re.compile(r"(.*)_(\d+)")  # how rosbag2 names the files of a recording
TOGETHER = 1.0  # s within which the next part of a recording begins


def is_own(folder: Path) -> bool:
    """Whether the bag in ``folder`` is one of our episodes."""
    return bool(custom_data(folder))


def read_own(
    folder: Path,
    definitions: Definitions,
    label: str,
    instruction: str | None = None,
    *,
    by_step: bool = False,
) -> Candidate:
    """Read the candidate of one of our bags, with the label ``label``.

    ``instruction``: what a person said afterwards that it shows; None: as recorded.

    The steps are those that the learner received live, built by the same code from the same
    messages. ``by_step``: add the observations "intervention", bool (T,), and "stamp_ns", int64
    (T,), the stamp of each image.
    """
    text = custom_data(folder)
    info = instructed(EpisodeInfo.from_text(text, str(folder)), instruction)
    seen: dict[int, dict[str, np.ndarray]] = {}  # by observation number and camera
    with open_bag(folder) as reader:
        rows = read_rows(reader, definitions)
        episode, steps = assemble(info, rows, text.get("end_reason", ""))
        wanted = set(episode.observation_seqs[:-1].tolist())
        for _, message in messages(reader, [kinds.OBSERVATION], definitions):
            if message.seq in wanted:
                named = zip(message.cameras, message.images, strict=False)
                found = {camera: _pixels(image) for camera, image in named}
                seen[message.seq] = {c: image for c, image in found.items() if image is not None}
    # Cameras and channels of most observations; one that lacks any of them is refused.
    shapes = Counter(
        tuple((camera, image.shape) for camera, image in sorted(images.items()))
        for images in seen.values()
    )
    common = dict(shapes.most_common(1)[0][0]) if shapes else {}
    images = {
        camera: np.zeros((episode.count, *shape), np.uint8) for camera, shape in common.items()
    }
    refused: list[str | None] = []
    for step, seq in enumerate(episode.observation_seqs[:-1].tolist()):
        shown = seen.get(seq, {})
        whole = common and {camera: image.shape for camera, image in shown.items()} == common
        if whole:
            for camera, image in shown.items():
                images[camera][step] = image
        refused.append(MISSING if episode.breaks[step] else None if whole else NO_PICTURE)
    return Candidate(
        name=folder.name,
        images=images,
        actions=episode.actions,
        refused=refused,
        attributes={
            "primitive": info.task or "demonstration",
            "instruction": info.instruction,
            "success": label == "success",
            "label": label,
            "episode_id": info.episode_id,
            "session_id": info.session_id,
            "interventions": episode.interventions,
        },
        observations=_by_step(steps) if by_step else {},
        figures=_figures(folder, label),
        translation=info.translation,
        rotation=info.rotation,
        proprioception=episode.proprioception[:-1] if episode.proprioception_names else None,
        proprioception_names=episode.proprioception_names,
        action_names=episode.action_names,
    )


@dataclass(frozen=True)
class BagSource:
    """A bag to import; ``refusal`` says why it cannot be imported."""

    path: Path
    label: str = "success"
    own: bool = False
    dropped: bool = False
    refusal: str = ""
    instruction: str | None = None  # given after the recording; None: as recorded


def find_sources(paths: Iterable[Path]) -> list[BagSource]:
    """Find the bags in ``paths``: sessions, folders of bags, bags.

    A path without a bag, a bag that is named twice, and a part of a recording give sources with a
    refusal.
    """
    found: list[BagSource] = []
    for path in paths:
        found += _guarded(path, DEPTH) or [BagSource(path, refusal=NO_BAG)]
    return _once(_without_parts(found))


@dataclass(frozen=True)
class Summary:
    """Result of an import."""

    trajectories: int
    steps: int
    episodes: int  # accepted
    reports: list[dict[str, Any]]


def import_bags(
    sources: Sequence[BagSource],
    out: Path,
    *,
    labels: Sequence[str] = ("success",),
    mapping: BagMapping | None = None,
    picture: Picture | None = None,
    selection: Selection | None = None,
    report: Path | None = None,
    progress: Callable[[Iterable[BagSource]], Iterable[BagSource]] = iter,
) -> Summary:
    """Write the usable steps of ``sources`` into the file ``out``.

    ``mapping`` and ``picture`` are needed for plain bags. An error in a source is reported as its
    refusal and does not end the import. Raises EpisodeError when
    nothing is usable, after the report was written, and where ``out`` exists or another import
    writes it; InputError, before a bag is read, where ``out`` or ``report`` cannot be made.
    """
    if out.exists():
        raise EpisodeError(f"{out} exists: choose another file, or remove it")
    if report is not None:
        check_file(report)
    with reserved_file(out):
        reports: list[dict[str, Any]] = []
        trajectories: list[Trajectory] = []
        taken = _Taken(labels, mapping, picture, selection or Selection())
        for source in progress(sources):
            pieces, figures = taken.guarded(source, len(trajectories))
            trajectories += pieces
            reports.append({"path": str(source.path), **figures})
        steps = sum(len(piece.actions) for piece in trajectories)
        accepted = sum(entry["accepted"] for entry in reports)
        summary = Summary(len(trajectories), steps, accepted, reports)
        if report is not None:
            write_report(report, summary)
        if not trajectories:
            raise EpisodeError(_nothing(reports))
        write_file(out, taken.description(reports), trajectories)
    return summary


def write_report(path: Path, summary: Summary) -> None:
    """Write the report as JSON."""
    text = json.dumps(dataclasses.asdict(summary), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def report_lines(summary: Summary) -> list[str]:
    """The report as text, one or two lines an episode."""
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
        if entry.get("bad_images"):
            bad = entry["bad_images"]
            parts.append(f"{bad} pictures that cannot be read ({entry['bad_image_reason']})")
        for gap in entry.get("gaps_s", ()):
            parts.append(f"cut where nothing came, or a clock was set forward, for {gap:.6g} s")
        if entry["duplicate_images"]:
            parts.append(f"{entry['duplicate_images']} pictures equal the one before")
        lines.append(f"{entry['name']}: {', '.join(parts)}")
        lines.append(f"  {_camera(entry)}")
    return lines


def _by_step(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    return {
        "intervention": np.array([step.intervention for step in steps], bool),
        "stamp_ns": np.array([step.observation_stamp for step in steps], np.int64),
    }


def _pixels(image) -> np.ndarray | None:
    """RGB uint8 (H, W, 3); None where size and bytes of the message do not match."""
    shape = (image.height, image.width, 3)
    if image.encoding != "rgb8" or not 0 < len(image.data) == math.prod(shape):
        return None
    return image.data.reshape(shape)


def _figures(folder: Path, label: str) -> dict:
    """Rate, gaps and age of the images, from the recorder's audit."""
    path = folder / AUDIT_FILE
    audit = read_json(path, "no audit") if path.exists() else {"topics": {}}
    found = [t for t in audit["topics"].values() if t["type"] == kinds.OBSERVATION]
    topic = found[0] if found else {}
    return {
        "label": label,
        "seconds": audit.get("seconds"),
        "image_rate_hz": topic.get("rate_hz"),
        "longest_image_gap_s": topic.get("longest_gap_s"),
        "lost_images": topic.get("lost"),
        "image_age_s": topic.get("age_s"),
    }


def _guarded(path: Path, depth: int) -> list[BagSource]:
    try:
        return list(_behind(path, depth))
    except (OSError, PtpError) as error:
        return [BagSource(path, refusal=str(error))]


def _behind(path: Path, depth: int) -> Iterator[BagSource]:
    if not path.exists():
        goes = f"a link to {path.readlink()}, which" if path.is_symlink() else "it"
        yield BagSource(path, refusal=f"{goes} is not there")
    elif path.is_file():
        yield _file(path)
    elif (path / SESSION_FILE).is_file():
        yield from _session(path)
    elif (path / METADATA_FILE).is_file():
        yield _source(path)
    elif depth:
        for inner in sorted(p for p in path.iterdir() if not p.name.startswith(".")):
            if inner.is_dir():
                yield from _guarded(inner, depth - 1) or [BagSource(inner, refusal="no bag in it")]
            elif not inner.exists() or inner.suffix in (*STORAGE, *OTHER_FILES):
                yield from _guarded(inner, 0)


def _file(path: Path) -> BagSource:
    if path.suffix in STORAGE:
        return BagSource(path)
    return BagSource(path, refusal=OTHER_FILES.get(path.suffix, NO_BAG))


def _session(path: Path) -> Iterator[BagSource]:
    session = Session(path)
    for entry in session.entries():
        yield BagSource(
            session.path(entry),
            entry.label,
            own=True,
            dropped=entry.dropped,
            instruction=entry.instruction,
        )
    for folder in session.unfinished():
        reason = f"it was never finished: `ptp episodes repair {path}` gets it back"
        yield BagSource(folder, "unlabelled", own=True, refusal=reason)


def _source(path: Path) -> BagSource:
    if not is_own(path):
        return BagSource(path)
    audit = path / AUDIT_FILE
    content = read_json(audit, "no audit") if audit.is_file() else {}
    label, dropped = content.get("label", "unlabelled"), content.get("dropped", False)
    return BagSource(
        path, label, own=True, dropped=dropped, instruction=content.get("instruction")
    )


def _once(sources: Iterable[BagSource]) -> list[BagSource]:
    """Refuse a bag whose files another source has already, by any path."""
    seen: dict[tuple[int, int], Path] = {}
    found = []
    for source in sources:
        if not source.refusal:
            files = storage_files(source.path)
            numbers = [(s.st_dev, s.st_ino) for s in (file.stat() for file in files)]
            first = next((seen[number] for number in numbers if number in seen), None)
            seen.update(dict.fromkeys(numbers, source.path))
            if first is not None:
                reason = f"it is the same bag as {first}, which was named before"
                source = replace(source, refusal=reason)
        found.append(source)
    return found


def _without_parts(sources: list[BagSource]) -> list[BagSource]:
    """Refuse single files that are parts of one recording."""
    bare = [s.path for s in sources if not s.refusal and s.path.is_file()]
    refused: dict[Path, str] = {}
    for path in bare:
        if (path.parent / METADATA_FILE).is_file() and len(storage_files(path.parent)) > 1:
            refused[path] = f"it is a part of the bag {path.parent}: name the folder"
    groups: dict[tuple[Path, str, str], dict[int, Path]] = {}
    for path in bare:
        named = PART.fullmatch(path.stem)
        if named and path not in refused:
            key = (path.parent, named[1], path.suffix)
            groups.setdefault(key, {})[int(named[2])] = path
    for (folder, _, suffix), numbered in groups.items():
        parts = [path for _, path in sorted(numbered.items())]
        for before, after in itertools.pairwise(parts):
            if _goes_on(before, after):
                reason = (
                    f"{before.name} and {after.name} are parts of one recording without "
                    f"metadata.yaml: `ros2 bag reindex -s {STORAGE[suffix]} {folder}` puts them "
                    "together"
                )
                refused |= {before: reason, after: reason}
    return [replace(s, refusal=refused.get(s.path, s.refusal)) for s in sources]


def _goes_on(before: Path, after: Path) -> bool:
    """Whether the second file begins where the first one ends."""
    try:
        with open_bag(before) as reader:
            end = reader.end_time
        start = first_time(after)
    except EpisodeError:
        return False
    return start is not None and abs(start - end) * 1e-9 < TOGETHER


class _Taken:
    """Shared state of an import: settings, and what the first bag fixed for all."""

    def __init__(
        self,
        labels: Sequence[str],
        mapping: BagMapping | None,
        picture: Picture | None,
        selection: Selection,
    ) -> None:
        self._labels, self._mapping, self._picture = labels, mapping, picture
        self._selection = selection
        self._definitions: Definitions | None = None
        self._first: Candidate | None = None

    def guarded(self, source: BagSource, number: int) -> tuple[list[Trajectory], dict[str, Any]]:
        """Pieces of a source, from index ``number`` on, and its report entry; errors refuse it."""
        try:
            return self._take(source, number)
        except PtpError as error:
            return [], refusal(source, str(error))
        except MemoryError:
            return [], refusal(source, "it does not fit into the memory: cut it into shorter bags")
        except Exception as error:  # a bag may hold anything
            return [], refusal(source, str(unreadable(source.path, error)))

    def _take(self, source: BagSource, number: int) -> tuple[list[Trajectory], dict[str, Any]]:
        if source.refusal:
            return [], refusal(source, source.refusal)
        if source.own and (source.dropped or source.label not in self._labels):
            reason = "it was dropped" if source.dropped else f"it is labelled {source.label}"
            return [], refusal(source, f"{reason}: not asked for")
        if source.own:
            self._definitions = self._definitions or Definitions()
            candidate = read_own(source.path, self._definitions, source.label, source.instruction)
        else:
            candidate = _read_plain(source, self._mapping, self._picture)
        if self._first is not None:
            _check_same(candidate, self._first)
        pieces, figures = select(candidate, self._selection, number)
        for piece in pieces:
            piece.check()
        if pieces and self._first is None:
            self._first = candidate.without_images()
        return pieces, figures

    def description(self, reports: list[dict[str, Any]]) -> dict[str, Any]:
        """The data set's description of its origin."""
        return {
            "env": "",
            "env_kwargs": {},
            "source": "bags",
            "episodes": [entry["name"] for entry in reports if entry["accepted"]],
            "labels": list(self._labels),
            "action_scale": {
                "translation": self._first.translation,
                "rotation": self._first.rotation,
            },
            "selection": dataclasses.asdict(self._selection),
            "mapping": None if self._mapping is None else to_dict(self._mapping),
        }


def _read_plain(
    source: BagSource, mapping: BagMapping | None, picture: Picture | None
) -> Candidate:
    if mapping is None or picture is None:
        raise EpisodeError(
            f"{source.path}: not an episode of ours; give --mapping FILE that names its topics"
        )
    return read_plain(source.path, mapping, picture)


def _check_same(candidate: Candidate, first: Candidate) -> None:
    """Raise EpisodeError where actions have another scale or meaning than in the first bag."""
    scale, other = ((one.translation, one.rotation) for one in (candidate, first))
    if scale != other:
        raise EpisodeError(
            f"its actions are scaled by {scale[0]:g} m and {scale[1]:g} rad, those of "
            f"{first.name} by {other[0]:g} m and {other[1]:g} rad: import them apart"
        )
    for what in ("action_names", "proprioception_names"):
        mine, others = getattr(candidate, what), getattr(first, what)
        if mine != others:
            raise EpisodeError(
                f"its {what.replace('_', ' ')} are {', '.join(mine) or 'none'}, those of "
                f"{first.name} {', '.join(others) or 'none'}: import them apart"
            )
    sizes, others = _cameras(candidate), _cameras(first)
    if sizes and sizes != others:  # empty: none of its images can be read
        raise EpisodeError(
            f"its cameras are {sizes}, those of {first.name} {others}: import them apart"
        )
    if candidate.frame != first.frame:
        raise EpisodeError(
            f"its commands are in the frame {quoted(candidate.frame)}, those of {first.name} in "
            f"{quoted(first.frame)}: import them apart, or name the frame in twist.frame"
        )


def _cameras(candidate: Candidate) -> str:
    """Cameras with their sizes in pixels."""
    sizes = {camera: images.shape[1:3] for camera, images in sorted(candidate.images.items())}
    return ", ".join(f"{camera} ({width} x {height})" for camera, (height, width) in sizes.items())


def refusal(source: BagSource, reason: str) -> dict[str, Any]:
    """The report's entry of a source that is left out."""
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
    rest = len(reports) - 1
    others = f"; {rest} more {'is' if rest == 1 else 'are'} refused" if rest else ""
    return f"nothing usable: {first['name']} is refused, {first['reason']}{others}"


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
