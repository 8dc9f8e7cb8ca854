# SPDX-License-Identifier: Apache-2.0
"""Audit of a recording: counts, rates, gaps, age of images, silent topics.

The statistics of a whole session come from its index and the audits of its recordings.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_writer import BAG_FILE

if TYPE_CHECKING:
    from ptp_core.episodes.session_store import Entry, Session

AUDIT_FILE = "audit.json"
PLAUSIBLE_AGE = 3600.0  # s; beyond it the stamp is of another clock, for example simulated time


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
