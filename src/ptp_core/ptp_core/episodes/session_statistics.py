# SPDX-License-Identifier: Apache-2.0
"""Statistics of a whole session, from the index and the audits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_writer import BAG_FILE
from ptp_core.episodes.recording_audit import sha256
from ptp_core.episodes.session_store import Entry, Session


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
