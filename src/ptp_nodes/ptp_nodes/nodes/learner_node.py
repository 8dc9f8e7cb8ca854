# SPDX-License-Identifier: Apache-2.0
"""Node: learns from the recorded episodes and hands out new weights."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ptp_interfaces.msg import (
    CartesianDelta,
    EpisodeRecord,
    ErrorCode,
    PolicyUpdate,
    RecorderStatus,
)
from ptp_interfaces.srv import GetEpisode

from ptp_core.agents.registry import method_named
from ptp_core.data.encoded_dataset import encoded_demonstrations
from ptp_core.data.files import reserved_folder
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import CheckpointError, InputError, PtpError
from ptp_core.practice.learning_run import LearningRun
from ptp_core.practice.success_signal import check_signal, own_judgement
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.policy.agent_networks import (
    NetworkParameters,
    agent_spec,
    load_networks,
    practice_setting,
)
from ptp_ros.agent_messages import read_latent
from ptp_ros.blocking_client import Caller
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Scalars
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.node_main import run
from ptp_ros.parameters import parameter
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import GET_EPISODE, LATCHED, POLICY_UPDATE, RECORDER_STATUS

BURST = 5  # updates between looks at what else is due
SCALARS_PERIOD = 1.0  # s between values of the curves
NAMES = ("episodes", "steps", "updates", "due", "buffer_size", "version", "updates_per_second")


@dataclass(frozen=True)
class LearnerParameters(NetworkParameters):
    """Parameters of the learner node."""

    folder: str = parameter("", "where state and checkpoints are kept, to go on after a restart")
    demonstrations: str = parameter(
        "",
        "data set of demonstrations; practice has iql.online_fraction of each batch (released "
        "checkpoint: 0.6), with learn_from successes from 4,000 learned steps on and less "
        "before; these have the rest; empty: practice alone",
    )
    learn_from: str = practice_setting("learn_from")
    success_signal: str = practice_setting("success_signal")
    utd_ratio: float = practice_setting("utd_ratio", minimum=0.0, maximum=100.0)
    learning_rate: float = practice_setting("learning_rate", minimum=1e-7, maximum=1e-1)
    publish_every: int = parameter(400, "gradient steps between two versions", minimum=1)
    save_minutes: float = parameter(2.0, "between two saves", minimum=0.01)
    seed: int = parameter(0, "of the batches", minimum=0)
    threads: int = parameter(1, "that torch computes with", minimum=1, maximum=64)
    patience: float = parameter(5.0, "s that the recorder may take to answer", minimum=0.1)


class LearnerNode(ManagedNode):
    """Pulls episodes by number, updates as many times as their steps call for, publishes.

    It keeps nothing that the recorder has: after a restart, here or on another machine, it pulls
    every episode again and goes on with the saved weights. While it is active its folder is locked
    for its process: it cannot be activated where another learner is at work.
    """

    parameters_type = LearnerParameters
    may_begin_again = True

    def __init__(self, **options: Any) -> None:
        super().__init__("learner", **options)
        self._caller = Caller(self)
        self._recorder = RecorderStatus()
        self._run: LearningRun | None = None
        self._trouble = ""
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = contextlib.ExitStack()  # on the folder
        self._scalars = Scalars(self, *NAMES)
        self._updates = self.create_lifecycle_publisher(PolicyUpdate, POLICY_UPDATE, LATCHED)
        self._client = self.create_client(GetEpisode, GET_EPISODE)
        self.create_subscription(RecorderStatus, RECORDER_STATUS, self._heard, LATCHED)
        Diagnostics(self, self._status)

    def stop(self) -> None:
        """Save and end the thread."""
        self._deactivate()
        super().stop()

    def _configure(self) -> None:
        if not self.parameters.folder:
            raise CheckpointError("no folder given: set the parameter folder to where to save")
        self._checkpoint = load_networks(self.parameters)
        check_signal(self.parameters.success_signal, self._checkpoint)
        self._method = method_named(self._checkpoint.agent)
        if self._method.learner is None:
            raise CheckpointError(
                f"{self._checkpoint.folder}: {self._method.name} learns from demonstrations alone"
            )
        if agent_spec(self._checkpoint).latent is None:
            raise CheckpointError(
                f"{self._checkpoint.folder}: {self._method.name} has no latents, which this node "
                "learns from: publish PolicyUpdate from a learner of its own"
            )
        torch.set_num_threads(self.parameters.threads)

    def _activate(self) -> None:
        self._lock.enter_context(reserved_folder(Path(self.parameters.folder)))
        self._ending.clear()
        self._thread = threading.Thread(target=self._guarded_learn, name="learn")
        self._thread.start()

    def _deactivate(self) -> None:
        self._ending.set()
        self._caller.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._lock.close()
        self._caller = Caller(self)

    def _heard(self, message: RecorderStatus) -> None:
        self._recorder = message
        self._caller.notify()

    # The thread.

    def _guarded_learn(self) -> None:
        try:
            self._learn()
        except RequestError as error:
            if error.code != ErrorCode.SHUTTING_DOWN:
                self._give_up(str(error))
        except PtpError as error:
            self._give_up(str(error))
        except Exception:
            self._give_up(f"unexpected\n{traceback.format_exc()}")

    def _give_up(self, text: str) -> None:
        self._trouble = text
        self.get_logger().error(f"learning ends: {text}")

    def _learn(self) -> None:
        self._run = run = self._prepare()
        saved = shown = time.monotonic()
        updates_shown = run.learner.updates
        try:
            while not self._ending.is_set():
                self._pull(run)
                if run.publish_due:
                    self._publish(run)
                for _ in range(min(BURST, run.learner.due)):
                    self._update(run)
                    if run.publish_due or self._ending.is_set():
                        break
                now = time.monotonic()
                if now - shown >= SCALARS_PERIOD:
                    rate = (run.learner.updates - updates_shown) / (now - shown)
                    self._show(run, rate)
                    shown, updates_shown = now, run.learner.updates
                if now - saved >= 60 * self.parameters.save_minutes:
                    run.save()
                    saved = now
                if run.learner.due <= 0 and not run.publish_due:
                    self._wait_for_more(run)
        finally:
            run.save()

    def _prepare(self) -> LearningRun:
        settings, logger = self.parameters, self.get_logger()
        folder = Path(settings.folder)
        demonstrations = None
        if settings.demonstrations:
            demonstrations = encoded_demonstrations(
                Path(settings.demonstrations),
                self._checkpoint,
                folder / "demonstrations.safetensors",
                lambda done, total: logger.info(
                    f"encoding demonstrations: {done} of {total} images",
                    throttle_duration_sec=5.0,
                ),
            )
        learner = self._method.learner(
            self._checkpoint,
            demonstrations,
            successes_only=settings.learn_from == "successes",
            utd_ratio=settings.utd_ratio,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
        )
        run = LearningRun(learner, folder, settings.publish_every)
        logger.info("waiting for the recorder")
        while not self._recorder.session_id:
            self._sleep()
        if run.begin(self._recorder.session_id):
            logger.info(
                f"goes on after {learner.updates} updates, version {run.version}, "
                f"with recordings {run.session_id}"
            )
        return run

    def _pull(self, run: LearningRun) -> None:
        """Get the episodes that are not here yet."""
        if self._recorder.session_id != run.session_id:
            raise CheckpointError(
                f"the recordings changed from {run.session_id} to {self._recorder.session_id}: "
                "start the learner anew, with another folder"
            )
        while run.episodes < self._recorder.episodes and not self._ending.is_set():
            number = run.episodes
            try:
                answer = self._caller.service(
                    self._client, GetEpisode.Request(number=number), self.parameters.patience
                )
            except RequestError as error:
                if error.code == ErrorCode.UNAVAILABLE:
                    self.get_logger().warning(
                        f"episode {number}: {error}; asking again", throttle_duration_sec=5.0
                    )
                    return
                if error.code == ErrorCode.SHUTTING_DOWN:
                    raise
                self._leave_out(run, number, error)
                continue
            try:
                parts = [] if answer.dropped else self._parts(answer.episode)
                learn = not answer.dropped and self._wanted(answer.episode)
            except PtpError as error:
                self._leave_out(run, number, error)
            else:
                run.add(parts, learn)

    def _parts(self, episode: EpisodeRecord) -> list[PracticeEpisode]:
        """The parts to learn from; for who takes words with those, and whether they were done."""
        parts = segments(episode, self._checkpoint)
        if not episode.instruction or "language" not in self._method.goals:
            return parts
        # A part of an episode with a gap does not show all that the instruction says.
        succeeded = not any(episode.breaks) and self._succeeded(episode)
        if succeeded:
            self._checkpoint.part("sentences").embed(episode.instruction)  # or raises GoalError
        said = {"instruction": episode.instruction, "succeeded": succeeded}
        return [dataclasses.replace(part, **said) for part in parts]

    def _wanted(self, episode: EpisodeRecord) -> bool:
        """Whether to learn from an episode whose parts were checked."""
        if self.parameters.learn_from == "all" or CartesianDelta.TELEOP in episode.sources:
            return True
        return self._succeeded(episode)

    def _succeeded(self, episode: EpisodeRecord) -> bool:
        """Whether it counts as a success, by the success signal."""
        if self.parameters.success_signal == "simulator":
            return episode.label == EpisodeRecord.SUCCESS
        if not episode.goal.shape:
            return False
        spec = agent_spec(self._checkpoint).latent
        goal = read_latent(episode.goal, spec, "episode's goal")
        last = read_latent(episode.latents, spec, "episode", stacked=True)[-1]
        return own_judgement(self.parameters.success_signal, last, goal, self._checkpoint)

    def _leave_out(self, run: LearningRun, number: int, error: PtpError) -> None:
        self.get_logger().error(f"episode {number} is left out: {error}")
        run.add([])

    def _update(self, run: LearningRun) -> None:
        if run.update()["diverged"]:
            self.get_logger().error(
                f"the networks diverged at update {run.learner.updates}: taken back to the last "
                "good weights; lower learning_rate if it happens again",
                throttle_duration_sec=1.0,
            )

    def _publish(self, run: LearningRun) -> None:
        update = run.weights()
        message = PolicyUpdate(
            version=update.version,
            step=run.learner.updates,
            encoder_id=update.encoder_id,
            sha256=update.sha256,
            weights=array.array("B", update.content),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._updates.publish(message)
        self.get_logger().info(
            f"weights {update.version} after {run.learner.updates} updates, "
            f"{run.episodes} episodes"
        )

    def _show(self, run: LearningRun, rate: float) -> None:
        learner = run.learner
        self._scalars.publish(
            {
                "episodes": run.episodes,
                "steps": learner.steps,
                "updates": learner.updates,
                "due": learner.due,
                "buffer_size": len(learner.online),
                "version": run.version,
                "updates_per_second": rate,
                "diverged": learner.diverged,
                **run.scalars.take(),
            }
        )

    def _wait_for_more(self, run: LearningRun) -> None:
        if self._recorder.episodes <= run.episodes:
            self._sleep()

    def _sleep(self) -> None:
        """Until the recorder says something, or the next look at the time is due."""
        before = self._recorder
        if self._ending.is_set():
            raise RequestError(ErrorCode.SHUTTING_DOWN, "learning ends")
        try:
            self._caller.until(
                lambda: self._recorder is not before or self._ending.is_set(), SCALARS_PERIOD, ""
            )
        except RequestError as error:
            if error.code == ErrorCode.SHUTTING_DOWN:
                raise

    def _status(self):
        figures: dict[str, object] = {"refused": 0}
        if (run := self._run) is not None:
            figures = {**self._scalars.newest(), "left out": run.left_out}
        if not self.active:
            return ERROR, str(self.problem), figures
        if self._trouble:
            return ERROR, self._trouble, figures
        if run is None or not self._recorder.session_id:
            return WARN, "waiting for the recorder", figures
        if run.learner.diverged:
            return WARN, f"diverged {run.learner.diverged} times", figures
        return OK, f"version {run.version}", figures


def segments(record: EpisodeRecord, checkpoint: Checkpoint) -> list[PracticeEpisode]:
    """What can be learned from of a recorded episode: its parts between missing steps.

    Raises RequestError and InputError for latents of another encoder and numbers that do not fit
    together.
    """
    spec = agent_spec(checkpoint)
    dtype = np.uint16 if spec.latent.kind == "indices" else np.float32  # as buffers keep them
    latents = read_latent(record.latents, spec.latent, "episode", stacked=True).astype(dtype)
    targets = read_latent(record.targets, spec.latent, "episode's targets", stacked=True)
    targets = targets.astype(dtype)
    n = record.count
    if tuple(record.action_names) != spec.actions:
        raise InputError(
            f"the episode's actions are {', '.join(record.action_names)}; {spec.agent} gives "
            f"{', '.join(spec.actions)}"
        )
    if len(record.actions) != n * len(spec.actions):
        raise InputError(f"the episode says {n} steps and has {len(record.actions)} numbers")
    actions = np.asarray(record.actions, np.float32).reshape(n, len(spec.actions))
    sizes = (len(latents), len(record.breaks))
    if sizes != (n + 1, n) or len(targets) not in (0, n):
        raise InputError(f"the episode says {n} steps; its latents and breaks say {sizes}")
    if not np.isfinite(actions).all():
        raise InputError("the episode has actions that are not finite")
    own = _proprioception(record, checkpoint.spec.proprioception)
    found, start = [], 0
    for stop in [*np.flatnonzero(np.asarray(record.breaks, bool)), n]:
        if stop > start:
            part = slice(start, stop)
            pursued = targets[part] if len(targets) else None
            felt = None if own is None else own[start : stop + 1]
            found.append(PracticeEpisode(latents[start : stop + 1], actions[part], pursued, felt))
        start = stop + 1
    return found


def _proprioception(record: EpisodeRecord, names: Sequence[str]) -> np.ndarray | None:
    """The numbers ``names``, float32 (n + 1, P), of an episode; None where it lacks one of them.

    Raises InputError for a wrong count and for numbers that are not finite.
    """
    recorded = list(record.proprioception_names)
    if not names or not set(names) <= set(recorded):
        return None
    frames = record.count + 1
    if len(record.proprioception) != frames * len(recorded):
        raise InputError(
            f"the episode says {record.count} steps and has {len(record.proprioception)} numbers "
            f"of proprioception, not {frames * len(recorded)}"
        )
    table = np.asarray(record.proprioception, np.float32).reshape(frames, len(recorded))
    felt = table[:, [recorded.index(name) for name in names]]
    if not np.isfinite(felt).all():
        raise InputError("the episode has proprioception that is not finite")
    return felt


def main() -> int:
    """Entry point."""
    return run(LearnerNode, niceness=5)
