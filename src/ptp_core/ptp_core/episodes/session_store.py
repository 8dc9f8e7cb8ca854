# SPDX-License-Identifier: Apache-2.0
"""Session folders: confirmed episodes with an index, recordings in progress, audits.

    session.json                    format, version, session_id, versions
    index.json                      the confirmed episodes; written last, by an atomic rename
    recording/<name>/               in progress, or left by a recorder that was killed
    episodes/episode_000012/        rosbag2: episode_0.mcap, metadata.yaml; beside it audit.json
    repaired/<name>/                originals of what was repaired

An episode is confirmed by the rename of its folder. A number is never used twice.

An audit has counts, rates, gaps, age of images and silent topics of a recording. The statistics
of a session come from its index and the audits of its recordings.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.file_limits import load_json
from ptp_core.data.files import flush_folder, write_atomically
from ptp_core.data.instruction import given_instruction
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_writer import BAG_FILE
from ptp_core.episodes.episode import LABELS
from ptp_core.errors import EpisodeError, GoalError, InputError, quoted

AUDIT_FILE = "audit.json"
PLAUSIBLE_AGE = 3600.0  # s; beyond it the stamp is of another clock, for example simulated time
FORMAT = "ptp-episodes"
FORMAT_VERSION = 1
SESSION_FILE = "session.json"
INDEX_FILE = "index.json"
NO_STEPS = "it has no steps, so it is no success"


@dataclass(frozen=True)
class Entry:
    """A confirmed episode in the index."""

    number: int
    episode_id: str
    task: str
    label: str
    steps: int
    end_reason: str
    interventions: int = 0
    breaks: int = 0
    dropped: bool = False  # not used for learning; nothing is deleted
    salvaged: bool = False
    sha256: str = ""
    instruction: str | None = None  # given after the recording; None: as recorded

    @property
    def folder(self) -> str:
        """Name of the episode's folder."""
        return f"episode_{self.number:06d}"


class RecorderLock:
    """Lock for recording into a session; it ends with the process, even if it is killed."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / ".recorder.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise EpisodeError(
                f"{folder}: another recorder (process {holder}) has this session: "
                "stop it, or choose another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


class Session:
    """One session folder. Any process may read it and change labels, even during a recording."""

    def __init__(self, folder: str | Path, *, create: dict[str, str] | None = None) -> None:
        """Open ``folder``; ``create`` makes it where there is none, with these versions.

        Confirmed episodes that the index lacks, after a kill, are added to it. Raises EpisodeError
        where the folder is no session, or of another format version.
        """
        self.folder = Path(folder)
        self.episodes = self.folder / "episodes"
        self.recording = self.folder / "recording"
        path = self.folder / SESSION_FILE
        if create is not None and not path.exists():
            self._create(path, create)
        content = read_json(path, "no session of recorded episodes")
        try:
            self.session_id: str = content["session_id"]
            self.versions: dict[str, str] = content["versions"]
        except KeyError as error:
            raise EpisodeError(f"{path}: damaged (no {error})") from None
        try:
            for name in (self.episodes, self.recording):
                name.mkdir(exist_ok=True)
            with self._locked():
                self._reconcile()
        except OSError as error:
            raise EpisodeError(f"{self.folder}: cannot be written to ({error})") from error

    def _create(self, path: Path, versions: dict[str, str]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(p.name not in (".recorder.lock", ".index.lock") for p in self.folder.iterdir()):
                raise EpisodeError(
                    f"{self.folder} holds other files: give an empty folder or a session"
                )
            now = datetime.now(timezone.utc)
            content = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "session_id": f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
                "created": now.isoformat(timespec="seconds"),
                "versions": versions,
            }
            _write(path, content)
        except OSError as error:
            raise EpisodeError(f"{self.folder}: cannot be made ({error.strerror})") from error

    def lock(self) -> RecorderLock:
        """Take the recording lock; EpisodeError when another process holds it."""
        return RecorderLock(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the index for a change."""
        with (self.folder / ".index.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def entries(self) -> list[Entry]:
        """Return all confirmed episodes by number, dropped ones too."""
        path = self.folder / INDEX_FILE
        if not path.exists():
            return []
        names = {field.name for field in fields(Entry)}
        try:
            rows = read_json(path, "no index")["episodes"]
            found = [Entry(**{k: v for k, v in row.items() if k in names}) for row in rows]
        except (KeyError, TypeError) as error:
            raise EpisodeError(
                f"{path}: damaged ({error}); remove it and it is made again from the audits"
            ) from None
        return sorted(found, key=lambda entry: entry.number)

    def entry(self, number: int) -> Entry:
        """Return one confirmed episode; InputError when there is none of that number."""
        entries = self.entries()
        for entry in entries:
            if entry.number == number:
                return entry
        raise InputError(f"{self.folder} has no episode {number}; it has {len(entries)}")

    def path(self, entry: Entry) -> Path:
        """Folder of a confirmed episode."""
        return self.episodes / entry.folder

    def audit(self, entry: Entry) -> dict[str, Any]:
        """Audit of a confirmed episode."""
        return read_json(self.path(entry) / AUDIT_FILE, "the episode has no audit")

    def next_number(self) -> int:
        """Return the number that the next confirmed episode gets."""
        used = [entry.number for entry in self.entries()] + list(self._folders())
        return max(used, default=-1) + 1

    def new_recording(self) -> Path:
        """Return a path for a recording in progress; it does not exist yet."""
        return self.recording / f"{time.strftime('%Y%m%dT%H%M%S')}_{uuid.uuid4().hex[:8]}"

    def unfinished(self) -> list[Path]:
        """Return recordings that were neither confirmed nor discarded, oldest first."""
        return sorted(path for path in self.recording.iterdir() if path.is_dir())

    def confirm(self, recording: Path, audit: dict[str, Any]) -> Entry:
        """Make a closed recording a confirmed episode. On return it is safe on the disk.

        Adds the number to ``audit``, which is stored with the bag. Order: audit, folder, index.
        """
        with self._locked():
            self._reconcile()
            number = self.next_number()
            audit = {"format_version": FORMAT_VERSION, **audit, "number": number}
            entry = _entry(audit, recording)
            _write(recording / AUDIT_FILE, audit)
            os.rename(recording, self.path(entry))
            flush_folder(self.episodes)
            flush_folder(self.recording)
            self._save([*self.entries(), entry])
        return entry

    def label(self, number: int, label: str) -> Entry:
        """Change the label of an episode to one of LABELS."""
        if label not in LABELS:
            raise InputError(f"label {quoted(label)}: it must be one of {', '.join(LABELS)}")
        if label == "success" and not self.entry(number).steps:
            raise InputError(f"episode {number}: {NO_STEPS}")
        return self._change(number, label=label)

    def instruct(self, number: int, instruction: str) -> Entry:
        """Say in words what an episode shows, in place of what was recorded.

        Raises GoalError for blanks alone, several lines and too long a sentence.
        """
        text = given_instruction(instruction, "the instruction")
        if not text:
            raise GoalError("the instruction is empty: say what the episode shows")
        return self._change(number, instruction=text)

    def drop(self, number: int, dropped: bool = True) -> Entry:
        """Mark an episode as not used for learning, or undo that."""
        return self._change(number, dropped=dropped)

    def _change(self, number: int, **changes: Any) -> Entry:
        with self._locked():
            changed = replace(self.entry(number), **changes)
            path = self.path(changed) / AUDIT_FILE
            # In the audit too, so that the index can be rebuilt from the folders.
            _write(path, {**read_json(path, "the episode has no audit"), **changes})
            rest = [entry for entry in self.entries() if entry.number != number]
            self._save([*rest, changed])
        return changed

    def _folders(self) -> dict[int, Path]:
        found = {}
        for path in self.episodes.glob("episode_*"):
            digits = path.name.removeprefix("episode_")
            if digits.isdigit():
                found[int(digits)] = path
        return found

    def _reconcile(self) -> None:
        entries = self.entries()
        known = {entry.number for entry in entries}
        missing = {n: path for n, path in self._folders().items() if n not in known}
        added = []
        for _, path in sorted(missing.items()):
            audit = read_json(path / AUDIT_FILE, "the episode has no audit: move the folder away")
            added.append(_entry(audit, path))
        if added or not (self.folder / INDEX_FILE).exists():
            self._save([*entries, *added])

    def _save(self, entries: list[Entry]) -> None:
        rows = [asdict(entry) for entry in sorted(entries, key=lambda entry: entry.number)]
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, "episodes": rows}
        _write(self.folder / INDEX_FILE, content)


def read_json(path: Path, missing: str) -> dict[str, Any]:
    """Content of one of our JSON files; EpisodeError when absent, damaged or of another format."""
    try:
        content = load_json(path)
        version = content["format_version"]
    except FileNotFoundError:
        raise EpisodeError(f"{path.parent}: {missing} ({path.name} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EpisodeError(f"{path}: damaged ({error})") from None
    if version != FORMAT_VERSION:
        raise EpisodeError(
            f"{path}: format version {version}, this program reads {FORMAT_VERSION}: "
            "use the program that wrote it"
        )
    return content


class TopicAudit:
    """Statistics of one topic, updated with each message that is written."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.lost = self.out_of_order = self.duplicates = 0
        self._first: int | None = None
        self._last = 0
        self._gap = 0
        self._sequence: int | None = None
        self._ages: list[float] = []

    def add(self, time: int, stamp: int | None = None, sequence: int | None = None) -> None:
        """Count a message received at ``time`` with header ``stamp`` [ns] and number."""
        self.count += 1
        if self._first is None:
            self._first = time
        else:
            self._gap = max(self._gap, time - self._last)
        self._last = time
        if stamp is not None:
            self._ages.append((time - stamp) * 1e-9)
        if sequence is not None:
            self._number(sequence)

    def _number(self, sequence: int) -> None:
        last = self._sequence
        if last is None or sequence > last:
            if last is not None:
                self.lost += sequence - last - 1
            self._sequence = sequence
        elif sequence == last:
            self.duplicates += 1
        else:
            self.out_of_order += 1

    def figures(self) -> dict[str, Any]:
        """Plain values for audit.json; None: unknown."""
        seconds = (self._last - (self._first or 0)) * 1e-9
        rate = (self.count - 1) / seconds if self.count > 1 and seconds > 0 else None
        result: dict[str, Any] = {
            "type": self.kind,
            "count": self.count,
            "rate_hz": None if rate is None else round(rate, 3),
            "longest_gap_s": round(self._gap * 1e-9, 4),
        }
        if self._sequence is not None:
            result["lost"] = self.lost
            result["out_of_order"] = self.out_of_order
            result["duplicates"] = self.duplicates
        if self._ages:
            result["age_s"] = age_figures(self._ages)
        return result


def age_figures(ages: Iterable[float]) -> dict[str, float] | None:
    """Median and largest of ages [s]; None where they are of two different clocks."""
    values = np.asarray(list(ages))
    if not len(values) or np.abs(values).max() > PLAUSIBLE_AGE:
        return None
    return {"median": round(float(np.median(values)), 4), "max": round(float(values.max()), 4)}


def silent(topics: dict[str, TopicAudit], expected: Iterable[str]) -> list[str]:
    """Expected topics without a message."""
    return [name for name in expected if name not in topics or not topics[name].count]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def session_figures(session: Session) -> dict[str, Any]:
    """Totals of the episodes that were not dropped, and their faults."""
    entries = session.entries()
    counted = [entry for entry in entries if not entry.dropped]
    audits = [session.audit(entry) for entry in counted]
    steps = sum(entry.steps for entry in counted)
    pictures = [
        topic
        for audit in audits
        for topic in audit["topics"].values()
        if topic["type"] == kinds.OBSERVATION
    ]
    ages = [topic["age_s"]["median"] for topic in pictures if topic.get("age_s")]
    rates = [topic["rate_hz"] for topic in pictures if topic["rate_hz"]]
    lost: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for audit in audits:
        lost.update({name: t["lost"] for name, t in audit["topics"].items() if t.get("lost")})
        dropped.update(audit["dropped_messages"])
    return {
        "session_id": session.session_id,
        "versions": session.versions,
        "episodes": len(counted),
        "dropped_episodes": len(entries) - len(counted),
        "unfinished": len(session.unfinished()),
        "labels": dict(Counter(entry.label for entry in counted)),
        "end_reasons": dict(Counter(entry.end_reason or "none" for entry in counted)),
        "steps": steps,
        "intervention_rate": sum(e.interventions for e in counted) / steps if steps else 0.0,
        "breaks": sum(entry.breaks for entry in counted),
        "salvaged": sum(entry.salvaged for entry in counted),
        "seconds": round(sum(audit["seconds"] for audit in audits), 1),
        "bytes": sum(audit["bytes"] for audit in audits),
        "image_rate_hz": round(float(np.median(rates)), 3) if rates else None,
        "image_age_s": round(float(np.median(ages)), 4) if ages else None,
        "longest_image_gap_s": max((t["longest_gap_s"] for t in pictures), default=None),
        "lost_messages": dict(lost),
        "dropped_messages": dict(dropped),
        "silent": {e.number: a["silent"] for e, a in zip(counted, audits) if a["silent"]},
    }


def damaged(
    session: Session, progress: Callable[[Iterable[Entry]], Iterable[Entry]] = iter
) -> list[str]:
    """One line for each episode whose bag differs from the confirmed one."""
    lines = []
    for entry in progress(session.entries()):
        path = session.path(entry) / BAG_FILE
        if not path.is_file():
            if not entry.dropped:
                lines.append(f"episode {entry.number}: {path} is missing")
        elif sha256(path) != entry.sha256:
            lines.append(f"episode {entry.number}: {path} is not what was recorded (sha256)")
    return lines


def _entry(audit: dict[str, Any], where: Path) -> Entry:
    try:
        return Entry(**{f.name: audit[f.name] for f in fields(Entry) if f.name in audit})
    except TypeError as error:
        raise EpisodeError(f"{where / AUDIT_FILE}: incomplete ({error})") from None


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False)
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
