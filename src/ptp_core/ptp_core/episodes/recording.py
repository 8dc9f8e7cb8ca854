# SPDX-License-Identifier: Apache-2.0
"""A recording in progress: bag, transitions and audit, until it is finished or discarded.

`repair` makes an unlabelled episode of what a killed recorder left: the whole chunks of its bag.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ptp_core.data.files import flush_folder
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import Salvage
from ptp_core.episodes.bag_writer import BagTopic, BagWriter, create_file
from ptp_core.episodes.episode import (
    FORMAT,
    Episode,
    EpisodeInfo,
    Step,
    make_row,
    nanoseconds,
    step_message,
)
from ptp_core.episodes.message_definitions import (
    ARM_STATE,
    LATENT,
    OBSERVATION,
    STEP_INFO,
    STEP_RECORD,
    Definitions,
)
from ptp_core.episodes.session_store import Entry, Session, TopicAudit, sha256, silent
from ptp_core.episodes.standard_messages import StandardMessages
from ptp_core.episodes.transition_builder import TransitionBuilder
from ptp_core.errors import EpisodeError

NUMBERED = {  # type -> its sequence number
    kinds.OBSERVATION: lambda m: m.seq,
    kinds.LATENT: lambda m: m.seq,
    kinds.ARM_STATE: lambda m: m.observation_seq,
    kinds.STEP_INFO: lambda m: m.seq,
}
STEP_TOPIC = "step_topic"  # in the header of the bag: where the transitions go
PICTURES = (kinds.OBSERVATION, kinds.IMAGE)  # whose age is audited
EXPECTED = (kinds.OBSERVATION, kinds.LATENT, kinds.ARM_STATE)  # topics that must not be silent

WORKSHOP = "repairing"  # folder of episodes that are being rebuilt


class Newest:
    """Keeps the newest message of each topic."""

    def __init__(self, definitions: Definitions, topics: Sequence[BagTopic]) -> None:
        self._definitions = definitions
        self._topics = topics
        self._newest: dict[str, bytes] = {}

    def put(self, topic: BagTopic, data: bytes) -> None:
        """Replace the topic's message."""
        self._newest[topic.name] = data

    def beginning(
        self, goal: Sequence[tuple[BagTopic, bytes]]
    ) -> Iterator[tuple[BagTopic, bytes]]:
        """Messages that begin an episode: ``goal``, then the others in the order of the topics.

        Latents and arm states older than the newest observation are left out, as newer ones will
        follow. The policy's steps are left out, as they answer older observations.
        """
        seen = [t for t in self._topics if t.kind == OBSERVATION and t.name in self._newest]
        first = max((self._number(topic) for topic in seen), default=0)
        yield from goal
        given = {topic.name for topic, _ in goal}
        for topic in self._topics:
            if topic.name in given or topic.name not in self._newest or topic.kind == STEP_INFO:
                continue
            elif topic.kind not in (LATENT, ARM_STATE) or self._number(topic) >= first:
                yield topic, self._newest[topic.name]

    def _number(self, topic: BagTopic) -> int:
        """Observation number of the newest message; 0 where it cannot be read."""
        try:
            message = self._definitions.decode(topic.kind, self._newest[topic.name])
        except EpisodeError:
            return 0
        return NUMBERED[topic.kind](message)


@dataclass
class Finished:
    """A closed recording that can be confirmed."""

    folder: Path
    episode: Episode
    audit: dict[str, Any]


class EpisodeRecording:
    """Writes messages into a bag and builds the transitions. For one thread at a time.

    ``add``, ``flush`` and ``finish`` may raise OSError (disk) and EpisodeError (damaged message).
    """

    def __init__(
        self,
        folder: Path,
        info: EpisodeInfo,
        definitions: Definitions,
        topics: Iterable[BagTopic],
        step_topic: BagTopic,
        opener: Callable[[Path], int] = create_file,
    ) -> None:
        self.info = info
        self.folder = folder
        self.assembler = TransitionBuilder(info)
        self.closed = False  # no message may be added any more
        self.unreadable = 0  # messages that could not be decoded
        self._definitions = definitions
        self._standard = StandardMessages(definitions)
        self._step_topic = step_topic
        self._expected = [t.name for t in topics if t.kind in EXPECTED]
        self._latents = {t.name for t in topics if t.kind == kinds.LATENT}
        self._audits: dict[str, TopicAudit] = {}
        self._times: dict[int, int] = {}  # observation number -> when its arm state came
        self._began = time.monotonic()
        header = {**info.to_text(), STEP_TOPIC: step_topic.name}
        self.writer = BagWriter(folder, definitions, header, opener)

    @property
    def seconds(self) -> float:
        """Since the start, on a steady clock."""
        return time.monotonic() - self._began

    def add(self, topic: BagTopic, data: bytes, received: int) -> list[Step]:
        """Write a message received at ``received`` [ns]; return new transitions.

        The standard messages with its content follow it; those of an earlier recording are left
        out, as they are made again.
        """
        if self._standard.repeats(topic):
            return []
        message = None
        if topic.kind in NUMBERED or topic.kind in (kinds.IMAGE, kinds.PLAN):
            message = self._definitions.decode(topic.kind, data)
        seq = NUMBERED[topic.kind](message) if topic.kind in NUMBERED else None
        observed = message.observation_seq if topic.kind == kinds.STEP_INFO else seq
        if observed is not None and observed < self.info.first_observation_seq:
            return []
        row = make_row(topic.kind, message)  # raises for a message that could not be read back
        self.writer.add(topic, data, received)
        for part, repeated in self._standard.of(topic, message):
            self.writer.add(part, repeated, received)
        audit = self._audits.setdefault(topic.name, TopicAudit(topic.kind))
        aging = topic.kind == kinds.OBSERVATION or (
            topic.kind == kinds.IMAGE and not topic.latched
        )
        stamp = nanoseconds(message.header.stamp) if aging else None
        audit.add(received, stamp, seq)
        if topic.kind == kinds.ARM_STATE:
            self._times[seq] = received
        self.assembler.add(row)
        return self.assembler.advance()

    def finish(
        self, end_reason: str, dropped: Mapping[str, int], *, salvaged: bool = False
    ) -> Finished:
        """Close the bag and audit it. The transitions are built anew from all rows."""
        self.closed = True
        final = self.assembler.unprocessed()
        episode = final.episode(end_reason)
        for step in final.steps:
            message = step_message(self._definitions, self.info.episode_id, step)
            self.writer.add(
                self._step_topic, self._definitions.encode(message), self._times[step.next_seq]
            )
        self.writer.close({"end_reason": end_reason})
        return Finished(self.folder, episode, self._audit(episode, dropped, salvaged))

    def leave(self) -> None:
        """Close the file unfinished; `ptp episodes repair` can recover it."""
        self.closed = True
        self.writer.abandon()

    def discard(self) -> None:
        """Remove it from the disk."""
        self.closed = True
        self.writer.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _audit(self, episode: Episode, dropped: Mapping[str, int], salvaged: bool):
        expected = self._expected
        agent = next(iter(self.assembler.pursued.values()), None)
        if agent is not None and not agent.target.size:
            # The policy uses no latents, so that no encoder is needed.
            expected = [name for name in expected if name not in self._latents]
        topics = {name: audit.figures() for name, audit in sorted(self._audits.items())}
        began = self.writer.first or 0
        started = datetime.fromtimestamp(began * 1e-9, timezone.utc)
        return {
            "session_id": self.info.session_id,
            "episode_id": self.info.episode_id,
            "task": self.info.task,
            "protocol": self.info.protocol,
            "label": "unlabelled",
            "end_reason": episode.end_reason,
            "started": started.isoformat(timespec="milliseconds"),
            "seconds": round((self.writer.last - began) * 1e-9, 3),
            "steps": episode.count,
            "breaks": int(episode.breaks.sum()),
            "interventions": episode.interventions,
            "weights_versions": sorted(set(episode.weights_versions) - {""}),
            "encoder_id": episode.encoder_id,
            "dropped_messages": dict(dropped),
            "silent": silent(self._audits, expected),
            "topics": topics,
            "salvaged": salvaged,
            "bytes": self.writer.path.stat().st_size,
            "sha256": sha256(self.writer.path),
        }


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
