# SPDX-License-Identifier: Apache-2.0
"""A learner that outlives its process: numbered episodes in, versioned weights and files out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptp_core.agents.registry import method_named
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import check_folder, keep_inputs, write_atomically
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import CheckpointError
from ptp_core.learning.practice_learner import PracticeLearner
from ptp_core.policies.live_weights import WeightsUpdate
from ptp_core.practice.run_folder import OF_SETTINGS
from ptp_core.training.checkpoint import save_again

STATE = "state.safetensors"  # weights, optimisers, counts, random state
INPUTS = "inputs.json"  # settings and data that it learns from
ABOUT = "learner.json"  # session and newest version
CHECKPOINT = "checkpoint"  # a whole checkpoint with the learned weights


class LearningScalars:
    """Means of what the updates say, until they are taken."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, metrics: dict[str, float]) -> None:
        """Note one update's scalars."""
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        values, self._values = self._values, {}
        return {name: float(np.mean(numbers)) for name, numbers in values.items()}


class LearningRun:
    """A `PracticeLearner` with its folder.

    Episodes come by number, each once, in order; after a restart they come again from 0, and
    learning goes on where ``save`` left it. ``publish_every`` updates make a new version; no
    version is ever used for two sets of weights, however the process ends.
    """

    def __init__(self, learner: PracticeLearner, folder: Path, publish_every: int) -> None:
        self.learner = learner
        self.scalars = LearningScalars()
        self.version = 0  # newest that was handed out
        self.episodes = 0  # that came so far; the next one has this number
        self.left_out = 0  # of them, dropped by a person or of no use
        self.session_id = ""
        self._folder = folder
        self._publish_every = publish_every
        self._published = 0  # updates in the newest version

    def begin(self, session_id: str) -> bool:
        """Begin with a recorder's session; True where an earlier run goes on.

        Raises CheckpointError when the folder is of another session, or damaged; InputError that
        names what differs when it was begun with other settings or demonstrations.
        """
        check_folder(self._folder)
        about = self._read_about()
        if about is not None and about["session_id"] != session_id:
            raise CheckpointError(
                f"{self._folder}: learned from the recordings {about['session_id']}, these are "
                f"{session_id}: give the learner another folder, or the recorder its old one"
            )
        keep_inputs(
            self._folder / INPUTS,
            self.learner.inputs,
            "give the learner another folder, or the settings that it began with",
            OF_SETTINGS,
        )
        self.session_id = session_id
        self.version = about["version"] if about else 0
        resumed = self.learner.resume(self._folder / STATE)
        if about is None:
            self._write_about()
        return resumed

    def add(self, parts: Sequence[PracticeEpisode], learn: bool = True) -> None:
        """Take the episode with the next number, as its unbroken parts; none: it is left out.

        Without ``learn`` its steps call for updates, but no batch holds them.
        """
        self.episodes += 1
        self.left_out += not parts
        for part in parts:
            self.learner.add(part, learn)

    def update(self) -> dict[str, float]:
        """Make one gradient step; return its scalars, which ``scalars`` collects too."""
        metrics = self.learner.update()
        if not metrics["diverged"]:
            self.scalars.add(metrics)
        return metrics

    @property
    def publish_due(self) -> bool:
        """Whether enough updates were made for a new version."""
        return self.learner.updates - self._published >= self._publish_every

    def weights(self) -> WeightsUpdate:
        """Return the weights as the next version."""
        self.version += 1
        self._write_about()  # first: a version that was sent must never be sent again
        self._published = self.learner.updates
        return self.learner.weights(self.version)

    def save(self) -> None:
        """Write state and checkpoint, each atomically."""
        self.learner.save(self._folder / STATE)
        source = self.learner.checkpoint
        metrics = {
            "practised_episodes": self.episodes,
            "practised_steps": self.learner.steps,
            "updates": self.learner.updates,
            "version": self.version,
            "from": source.parts[method_named(source.agent).learned].stored.sha256,
        }
        save_again(self._folder / CHECKPOINT, source, metrics)

    def _read_about(self) -> dict | None:
        path = self._folder / ABOUT
        if not path.exists():
            return None
        try:
            about = load_json(path)
            return {"session_id": str(about["session_id"]), "version": int(about["version"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: damaged ({error}); delete the folder to learn anew"
            ) from error

    def _write_about(self) -> None:
        text = json.dumps({"session_id": self.session_id, "version": self.version}) + "\n"
        path = self._folder / ABOUT
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
