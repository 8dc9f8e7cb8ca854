# SPDX-License-Identifier: Apache-2.0
"""What all learners of practice share: updates that are due, the last good weights, resumption."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import GRIPPER, PracticeEpisode
from ptp_core.errors import InputError
from ptp_core.learning.gradient_step import Metrics
from ptp_core.policies.live_weights import WeightsUpdate
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.stage import StageState

IDLE = 0.2  # of the scale; an action that asks the arm for less is waiting


def without_idling(episode: PracticeEpisode, names: Sequence[str]) -> PracticeEpisode:
    """The steps of an episode in which the arm or its gripper is told to move.

    ``names`` are those of an action's numbers: the arm moves where one of them is not small, the
    gripper where "gripper" changes.

    A step's next observation is then the one in which the next of these steps begins: a transition
    may span several control steps, and is discounted as one. Imitating idle steps makes the policy
    idle. Ours, not in the paper.
    """
    actions = episode.actions
    grips = np.array([name == GRIPPER for name in names])
    changes = np.diff(actions[:, grips], axis=0, prepend=actions[:1, grips])
    asked = np.concatenate([actions[:, ~grips], changes], axis=1)
    places = np.flatnonzero((np.abs(asked) >= IDLE).any(axis=1))
    ends = places[-1:] + 1
    kept, own = np.concatenate([places, ends]), episode.proprioception
    return PracticeEpisode(
        episode.codes[kept],
        actions[places],
        None if episode.targets is None else episode.targets[places],
        None if own is None else own[kept],
    )


class PracticeLearner(ABC):
    """Learns from practised episodes, and from demonstrations where there are any.

    ``utd_ratio`` is the update-to-data (UTD) ratio: so many gradient steps are due for each
    practised step. ``due`` counts them, so that the ratio is exact however steps and updates
    interleave. Weights that are not finite are taken back to the last good ones.
    ``successes_only`` says that no other episodes are added.

    A learner gives its networks to ``_begin`` when it is made, and defines the methods below that.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        demonstrations: EncodedDataset | None,
        successes_only: bool,
        utd_ratio: float,
        learning_rate: float,
        seed: int,
    ) -> None:
        """Raise InputError for a ratio that is none, and demonstrations of another encoder."""
        if utd_ratio < 0 or not math.isfinite(utd_ratio):
            raise InputError(f"utd_ratio is {utd_ratio}; it must be 0 or more")
        if demonstrations is not None and demonstrations.encoder_id != checkpoint.encoder_id:
            raise InputError(
                f"the demonstrations are codes of encoder {demonstrations.encoder_id[:12]}, the "
                f"checkpoint has {checkpoint.encoder_id[:12]}: encode them with this checkpoint"
            )
        self.checkpoint = checkpoint
        self.successes_only, self.utd_ratio = successes_only, utd_ratio
        self.diverged = 0  # times that weights were taken back
        self._steps = 0
        self.inputs = {  # what a run that goes on must share with the one before
            "encoder_id": checkpoint.encoder_id,
            "seed": seed,
            "learn_from": "successes" if successes_only else "all",
            "utd_ratio": utd_ratio,
            "learning_rate": learning_rate,
            "demonstrations": None if demonstrations is None else demonstrations.content_hash(),
        }

    def _begin(
        self, modules: dict[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]
    ) -> None:
        """Take what is learned: it is stored, and taken back where it is not finite."""
        shared = {name: self.inputs[name] for name in ("encoder_id", "seed")}
        self._state = StageState(
            modules=modules,
            optimisers=dict(optimisers),
            seed=shared["seed"],
            fingerprint=shared,
        )
        self._remember()

    @property
    @abstractmethod
    def _acting(self) -> nn.Module:
        """The networks that act."""

    @property
    @abstractmethod
    def _has_data(self) -> bool:
        """Whether there is anything to learn from."""

    @abstractmethod
    def _learn(self, episode: PracticeEpisode) -> None:
        """Learn from this episode, too. Raises InputError where its parts do not fit together."""

    @abstractmethod
    def _step(self, run: Callable[..., Iterable]) -> Metrics:
        """Make one gradient step. Raises InputError without data."""

    def _check(self, episode: PracticeEpisode) -> None:
        """Raise InputError for an episode that cannot be used."""
        if not np.isfinite(episode.actions).all():
            raise InputError("the episode has actions that are not finite: it is left out")

    @property
    def updates(self) -> int:
        """Gradient steps since the checkpoint."""
        return self._state.step

    @property
    def steps(self) -> int:
        """Practised steps that were added."""
        return self._steps

    @property
    def due(self) -> int:
        """Gradient steps that the practised steps still call for; negative when ahead.

        0 while there is nothing to learn from.
        """
        if not self._has_data:
            return 0
        return math.floor(self._steps * self.utd_ratio + 1e-9) - self.updates

    def add(self, episode: PracticeEpisode, learn: bool = True) -> None:
        """Learn from this episode too; without ``learn`` its steps count for ``due`` alone.

        Raises InputError where its parts do not fit together, or the learner lacks one of them.
        """
        self._check(episode)
        if learn:
            self._learn(episode)
        self._steps += episode.steps

    def update(self, run: Callable[..., Iterable] = map) -> dict[str, float]:
        """Make one gradient step; return its scalars. ``run``: see `accelerated_update`.

        ``diverged`` is 1 in the scalars when the step left numbers that are not finite: it was
        undone, together with those since the last good weights. Raises InputError without data.
        """
        scalars = {name: float(value) for name, value in self._step(run).items()}
        self._state.step += 1
        bad = not all(math.isfinite(value) for value in scalars.values())
        if bad:
            self._take_back()
        return {**scalars, "diverged": float(bad)}

    def weights(self, version: int) -> WeightsUpdate:
        """Return the weights to use from now on.

        These become the last good ones; where they are not finite, the last good ones are taken.
        """
        if all(torch.isfinite(value).all() for value in self._acting.state_dict().values()):
            self._remember()
        else:
            self._take_back()
        return WeightsUpdate.of(self._acting, version, self.checkpoint.encoder_id)

    def save(self, path: Path) -> None:
        """Write weights, optimisers, counts and random state atomically; episodes not."""
        self._state.save(path)

    def resume(self, path: Path) -> bool:
        """Go on from ``save``; False where there is nothing of this checkpoint and seed.

        The episodes must be added again. Raises CheckpointError when the file is damaged.
        """
        if not self._state.resume(path):
            return False
        self._remember()
        return True

    @property
    def _parts(self) -> list[nn.Module | torch.optim.Optimizer]:
        return [*self._state.modules.values(), *self._state.optimisers.values()]

    def _remember(self) -> None:
        self._good = copy.deepcopy([part.state_dict() for part in self._parts])

    def _take_back(self) -> None:
        self.diverged += 1
        for part, values in zip(self._parts, copy.deepcopy(self._good), strict=True):
            part.load_state_dict(values)
