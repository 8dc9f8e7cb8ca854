# SPDX-License-Identifier: Apache-2.0
"""Repair recordings of killed recorders: their whole chunks become an unlabelled episode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ptp_core.data.files import flush_folder
from ptp_core.episodes.bag_reader import Salvage
from ptp_core.episodes.bag_writer import BagTopic
from ptp_core.episodes.episode import FORMAT, EpisodeInfo
from ptp_core.episodes.message_definitions import STEP_RECORD, Definitions
from ptp_core.episodes.recording import STEP_TOPIC, EpisodeRecording
from ptp_core.episodes.session_store import Entry, Session
from ptp_core.errors import EpisodeError

WORKSHOP = "repairing"  # folder of episodes that are being rebuilt


@dataclass(frozen=True)
class Repaired:
    """Result for one recording: ``entry`` is None where nothing could be recovered.

    ``problem`` says why the recording ended; it is empty for a whole one. ``left`` is true where
    the recording stays unchanged, as it cannot be repaired here and now.
    """

    name: str
    messages: int
    entry: Entry | None
    problem: str
    left: bool = False


def repair(session: Session, definitions: Definitions) -> Iterator[Repaired]:
    """Make an episode of each recording that was neither confirmed nor discarded.

    The original moves to ``repaired/``. Raises EpisodeError while a recorder holds the session.
    It can be interrupted at any time and run again.
    """
    lock = session.lock()
    workshop = session.folder / WORKSHOP
    try:
        shutil.rmtree(workshop, ignore_errors=True)  # of a repair that was interrupted
        done = {
            session.audit(entry).get("salvaged_from"): entry
            for entry in session.entries()
            if entry.salvaged and session.path(entry).is_dir()
        }
        for folder in session.unfinished():
            if folder.name in done:
                _put_away(session, folder)
                yield Repaired(folder.name, 0, done[folder.name], "repaired before")
            else:
                yield _repair(session, folder, workshop / folder.name, definitions)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        lock.release()


def _repair(session: Session, folder: Path, new: Path, definitions: Definitions) -> Repaired:
    salvage = Salvage(folder, definitions)
    recording: EpisodeRecording | None = None
    messages = 0
    entry = None
    try:
        for topic, time, data in salvage:
            if topic.kind == STEP_RECORD:  # they are built again
                continue
            if recording is None:
                info = EpisodeInfo.from_text(salvage.header, str(salvage.path))
                info = replace(info, format=FORMAT)  # messages are upgraded to the newest
                step_topic = BagTopic(salvage.header[STEP_TOPIC], STEP_RECORD)
                recording = EpisodeRecording(new, info, definitions, (), step_topic)
            recording.add(topic, data, time)
            messages += 1
        if recording is not None:
            end_reason = salvage.footer.get("end_reason", "fault")
            done = recording.finish(end_reason, {}, salvaged=True)
            entry = session.confirm(done.folder, {**done.audit, "salvaged_from": folder.name})
    except (OSError, EpisodeError) as error:
        if recording is not None:
            recording.discard()
        return Repaired(folder.name, messages, None, str(error), left=True)
    _put_away(session, folder)
    return Repaired(folder.name, messages, entry, salvage.problem)


def _put_away(session: Session, folder: Path) -> None:
    away = session.folder / "repaired"
    away.mkdir(exist_ok=True)
    os.rename(folder, away / folder.name)
    flush_folder(away)
    flush_folder(folder.parent)
