# SPDX-License-Identifier: Apache-2.0
"""Record episodes into a session: callbacks queue messages as bytes, one thread writes them."""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.bag_writer import BagTopic, Item, WriteQueue, create_file
from ptp_core.episodes.episode import LABELS, Episode, EpisodeInfo, Step, instructed
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.recording import EpisodeRecording, Finished, Newest
from ptp_core.episodes.session_store import NO_STEPS, Entry, Session
from ptp_core.errors import EpisodeError, InputError, PtpError

MEGABYTE = 1_000_000


class RecorderState(IntEnum):
    """Numbered as in RecorderStatus."""

    IDLE = 0
    RECORDING = 1
    WAITING = 2
    FAULT = 3


class EpisodeVerdict(IntEnum):
    """Numbered as in FinishEpisode."""

    SAVE_SUCCESS = 0
    SAVE_FAILURE = 1
    SAVE_UNLABELLED = 2
    DISCARD = 3
    STOP = 4
    RERECORD = 5


LABEL_OF = {
    EpisodeVerdict.SAVE_SUCCESS: "success",
    EpisodeVerdict.SAVE_FAILURE: "failure",
    EpisodeVerdict.SAVE_UNLABELLED: "unlabelled",
}


@dataclass(frozen=True)
class RecorderLimits:
    """Limits of disk space and memory of a recorder."""

    min_free: int = 500  # MB that must stay free on the disk
    queue: int = 64  # MB that may be queued for the disk

    def check(self, folder: Path) -> None:
        """Raise EpisodeError when the disk of ``folder`` has too little room left."""
        free = shutil.disk_usage(folder).free // MEGABYTE
        if free < self.min_free:
            raise EpisodeError(
                f"{folder}: {free} MB are free, {self.min_free} MB must stay: free some space"
            )


@dataclass(frozen=True)
class Status:
    """State of the recorder; fields as in RecorderStatus."""

    state: RecorderState
    episode_id: str
    steps: int
    episodes: int
    dropped: int
    bytes_free: int
    seconds: float
    error: str


@dataclass(frozen=True)
class Outcome:
    """Result of a recording: confirmed as ``entry``, or not, perhaps with an ``error``."""

    entry: Entry | None = None
    path: Path | None = None
    steps: int = 0
    error: str = ""


FLUSH_SECONDS = 1.0  # s; a kill loses no more than this
DRAIN_SECONDS = 60.0  # s for the disk to catch up at the end of an episode
LEAVE_SECONDS = 2.0  # the same for an abandoned recording
KEPT_EPISODES = 64  # confirmed episodes that are kept in memory


class EpisodeRecorder:
    """Records one episode at a time. Raises EpisodeError when another recorder has the session.

    ``topics`` are recorded; their newest messages begin an episode in this order. ``spare`` names
    those that may be dropped first. ``on_step`` is called with each transition soon after
    it happened, ``on_change`` with each new state, ``on_problem`` with one line for the log. They
    are called from other threads and must not wait for this object.
    """

    def __init__(
        self,
        session: Session,
        definitions: Definitions,
        topics: Sequence[BagTopic],
        step_topic: BagTopic,
        *,
        spare: Sequence[str] = (),
        limits: RecorderLimits | None = None,
        on_step: Callable[[str, Step], None] = lambda episode_id, step: None,
        on_change: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda line: None,
        opener: Callable[[Path], int] = create_file,
    ) -> None:
        self.session = session
        self._lock = session.lock()
        self._definitions = definitions
        self._topics = topics
        self._step_topic = step_topic
        self._spare = set(spare)
        self._limits = limits or RecorderLimits()
        self._on_step, self._on_change, self._on_problem = on_step, on_change, on_problem
        self._opener = opener
        self._state = RecorderState.IDLE
        self._error = ""
        self._recording: EpisodeRecording | None = None
        self._finished: Finished | None = None
        self._outcome: Outcome | None = None
        self._newest = Newest(definitions, topics)
        self._kept: OrderedDict[int, Episode] = OrderedDict()
        self._episodes = session.next_number()
        self._clock = (time.time_ns(), time.monotonic_ns())
        self._control = threading.RLock()  # one start or finish at a time
        self._io = threading.Lock()  # one thread at the bag at a time
        self._news = threading.Condition()
        self._queue = WriteQueue(self._limits.queue * MEGABYTE)
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    def put(self, topic: BagTopic, data: bytes) -> None:
        """Queue a message for writing; never waits for the disk."""
        with self._news:
            start, steady = self._clock
            # The system's clock, but monotonic within an episode.
            received = start + time.monotonic_ns() - steady
            self._newest.put(topic, data)
            if self._state == RecorderState.RECORDING:
                self._queue.put(Item(topic, received, data, topic.name in self._spare))

    def start(self, info: EpisodeInfo, goal: Sequence[tuple[BagTopic, bytes]] = ()) -> None:
        """Begin an episode with the newest message of each topic; ``goal`` replaces some of them.

        Raises InputError while another episode is recorded or undecided, EpisodeError for a full
        disk.
        """
        with self._control:
            if self._state in (RecorderState.RECORDING, RecorderState.WAITING):
                raise InputError(
                    f"episode {self._info.episode_id} is not finished: save or discard it first"
                )
            info = replace(info, session_id=self.session.session_id)
            self._info, self._goal = info, goal
            self._begin()

    def _begin(self) -> None:
        self._limits.check(self.session.folder)
        self._queue.clear()
        try:
            recording = EpisodeRecording(
                self.session.new_recording(),
                self._info,
                self._definitions,
                self._topics,
                self._step_topic,
                self._opener,
            )
        except OSError as error:
            raise EpisodeError(self._describe(error)) from None
        with self._news:
            self._clock = (time.time_ns(), time.monotonic_ns())
            self._recording, self._finished, self._outcome = recording, None, None
            self._error = ""
            for topic, data in self._newest.beginning(self._goal):
                self._queue.put(Item(topic, self._clock[0], data, False))
            self._state = RecorderState.RECORDING
        self._changed()

    def finish(
        self,
        verdict: EpisodeVerdict,
        end_reason: str = "",
        *,
        episode_id: str = "",
        last_observation_seq: int = 0,
        patience: float = 2.0,
    ) -> Outcome:
        """End the recording and keep or discard it; also decides on an ended one.

        Waits at most ``patience`` s for latent and arm state of ``last_observation_seq``. Raises
        InputError when there is nothing to finish, EpisodeError when it cannot be written.
        """
        with self._control:
            if self._state == RecorderState.FAULT and self._recording is not None:
                raise EpisodeError(self._error)
            if self._state not in (RecorderState.RECORDING, RecorderState.WAITING):
                raise InputError("no episode is being recorded")
            if episode_id not in ("", self._info.episode_id):
                raise InputError(f"episode {self._info.episode_id} is recorded, not {episode_id}")
            if self._state == RecorderState.RECORDING:
                self._await(last_observation_seq, patience)
                self._close(
                    end_reason,
                    keep=verdict not in (EpisodeVerdict.DISCARD, EpisodeVerdict.RERECORD),
                )
            outcome = Outcome(steps=len(self._recording.assembler.steps))
            if verdict == EpisodeVerdict.STOP:
                return outcome
            if verdict in LABEL_OF:
                outcome = self._save(LABEL_OF[verdict])
            else:
                with self._io:
                    self._recording.discard()
            if verdict == EpisodeVerdict.RERECORD:
                try:
                    self._begin()
                except EpisodeError as error:
                    self._fault(str(error))
                    raise
                return outcome
            self._end(outcome)
            return outcome

    def _await(self, seq: int, patience: float) -> None:
        recording = self._recording
        if not seq or seq < self._info.first_observation_seq:
            return
        with self._news:
            there = self._news.wait_for(
                lambda: recording.assembler.has(seq) or self._state != RecorderState.RECORDING,
                patience,
            )
        if not there:
            self._on_problem(
                f"episode {self._info.episode_id}: latent or arm state of the last observation "
                f"{seq} did not come within {patience:g} s: steps at its end are missing"
            )

    def _close(self, end_reason: str, keep: bool) -> None:
        with self._news:
            if self._state == RecorderState.RECORDING:
                self._state = RecorderState.WAITING  # from here on no message is added
        if keep:
            self._queue.wait_empty(DRAIN_SECONDS)
            self._queue.give_up()
        with self._io:
            if self._state == RecorderState.FAULT:
                raise EpisodeError(self._error)
            if keep:
                try:
                    dropped = self._queue.dropped
                    self._finished = self._recording.finish(end_reason, dropped)
                except OSError as error:
                    self._fault(self._describe(error))
                    raise EpisodeError(self._error) from None
        self._queue.clear()
        self._changed()

    def _save(self, label: str) -> Outcome:
        finished = self._finished
        if label == "success" and not finished.episode.count:
            label = "unlabelled"
            self._on_problem(f"episode {self._info.episode_id}: {NO_STEPS}, kept without a label")
        try:
            entry = self.session.confirm(finished.folder, {**finished.audit, "label": label})
        except OSError as error:
            self._fault(self._describe(error))
            raise EpisodeError(self._error) from None
        episode = finished.episode
        episode.number, episode.label = entry.number, LABELS.index(label)
        self._kept[entry.number] = episode
        while len(self._kept) > KEPT_EPISODES:
            self._kept.popitem(last=False)
        return Outcome(entry, self.session.path(entry), episode.count)

    def _end(self, outcome: Outcome) -> None:
        with self._news:
            self._outcome = outcome
            self._recording = self._finished = None
            self._state = RecorderState.IDLE
            self._episodes = self.session.next_number()
        self._changed()

    def wait(self, timeout: float) -> Outcome | None:
        """Result of the recording; None if it is still going on after ``timeout`` s."""
        with self._news:
            self._news.wait_for(lambda: self._outcome is not None, timeout)
            return self._outcome

    def status(self) -> Status:
        """The current state of the recorder."""
        with self._news:
            recording = self._recording
            return Status(
                state=self._state,
                episode_id=self._info.episode_id if recording is not None else "",
                steps=len(recording.assembler.steps) if recording is not None else 0,
                episodes=self._episodes,
                dropped=self._queue.dropped.total(),
                bytes_free=shutil.disk_usage(self.session.folder).free,
                seconds=recording.seconds if recording is not None else 0.0,
                error=self._error,
            )

    def episode(self, number: int) -> tuple[Episode | None, Entry]:
        """A confirmed episode as it is labelled now; None when it was dropped."""
        entry = self.session.entry(number)
        if entry.dropped:
            return None, entry
        episode = self._kept.get(number)
        if episode is None:
            episode = read_confirmed(self.session, entry, self._definitions)
        info = instructed(episode.info, entry.instruction)
        return replace(episode, label=LABELS.index(entry.label), info=info), entry

    def leave(self, reason: str) -> None:
        """Abandon the recording without a decision; `repair` can recover it."""
        with self._control:
            if self._recording is None or self._state not in (
                RecorderState.RECORDING,
                RecorderState.WAITING,
            ):
                return
            with self._news:
                self._state = RecorderState.WAITING  # from here on no message is added
            self._queue.wait_empty(LEAVE_SECONDS)
            if self._state == RecorderState.FAULT:
                return
            with self._io:
                if not self._recording.closed:
                    with suppress(OSError):
                        self._recording.writer.flush()
                self._recording.leave()
            self._queue.clear()
            self._end(Outcome(steps=len(self._recording.assembler.steps), error=reason))

    def close(self) -> None:
        """Stop the thread, abandon the recording, and release the session for other recorders."""
        self.leave("the recorder stops")
        self._queue.close()
        self._thread.join()
        self._lock.release()

    def _write(self) -> None:
        flushed = time.monotonic()
        while True:
            item = self._queue.take(FLUSH_SECONDS)
            if item is None and self._queue.closed:
                return
            with self._io:
                recording = self._recording
                if recording is None or recording.closed:
                    continue
                try:
                    if item is not None:
                        self._add(recording, item)
                    if time.monotonic() - flushed > FLUSH_SECONDS:
                        flushed = time.monotonic()
                        recording.writer.flush()
                        self._limits.check(self.session.folder)
                except OSError as error:
                    self._fault(self._describe(error))
                except PtpError as error:
                    self._fault(str(error))

    def _add(self, recording: EpisodeRecording, item: Item) -> None:
        try:
            steps = recording.add(item.topic, item.data, item.time)
        except EpisodeError as error:  # only this message is damaged
            recording.unreadable += 1
            self._on_problem(f"{item.topic.name}: {error}")
            return
        with self._news:
            self._news.notify_all()
        for step in steps:
            self._on_step(self._info.episode_id, step)

    def _describe(self, error: OSError) -> str:
        return f"{self.session.folder}: {error.strerror or error}: free some space"

    def _fault(self, line: str) -> None:
        """End the recording with an error; `repair` can recover what was written."""
        with self._news:
            self._state = RecorderState.FAULT
            self._error = f"episode {self._info.episode_id} ended: {line}"
            if self._recording.folder.exists():
                self._error += "; `ptp episodes repair` gets back what was written"
            self._recording.leave()
            steps = len(self._recording.assembler.steps)
            self._outcome = Outcome(steps=steps, error=self._error)
        self._on_problem(self._error)
        self._queue.clear()
        self._changed()

    def _changed(self) -> None:
        with self._news:
            self._news.notify_all()
        self._on_change()
