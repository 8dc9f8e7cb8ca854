# SPDX-License-Identifier: Apache-2.0
"""Fine-tune policy and value functions on demonstrations and practice (paper Alg. 1).

`OnlineLearner` learns from both; `fine_tune` makes some steps on demonstrations alone, and
`agreement` says what they have changed.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import CodeBatch, ReplayBuffer
from ptp_core.data.trajectory import GRIPPER, PracticeEpisode
from ptp_core.errors import InputError
from ptp_core.learning.accelerated_iql import accelerated_update
from ptp_core.learning.iql import Batch
from ptp_core.policies.live_weights import WeightsUpdate
from ptp_core.practice.practice_settings import preset
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.iql_stage import fill_buffer, make_batch
from ptp_core.training.stage import StageState

LEARNING_RATE = preset("paper").learning_rate  # pre-training may have ended on a decayed rate
CAPACITY = 1_000_000  # online transitions (authors' code); 316 bytes each with 144 codes
PLENTY = 4_000  # practised steps from which on successes alone have their full part of a batch
IDLE = 0.2  # of the scale; an action that asks the arm for less is waiting
SAMPLES = 2048  # transitions that losses are measured on


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


def check_learner_inputs(
    checkpoint: Checkpoint, demonstrations: EncodedDataset | None, utd_ratio: float
) -> None:
    """Raise InputError for a ratio that is none, and demonstrations of another encoder."""
    if utd_ratio < 0 or not math.isfinite(utd_ratio):
        raise InputError(f"utd_ratio is {utd_ratio}; it must be 0 or more")
    if demonstrations is not None and demonstrations.encoder_id != checkpoint.encoder_id:
        raise InputError(
            f"the demonstrations are codes of encoder {demonstrations.encoder_id[:12]}, the "
            f"checkpoint has {checkpoint.encoder_id[:12]}: encode them with this checkpoint"
        )


class OnlineLearner:
    """IQL on batches of which ``iql.online_fraction`` are practice, the rest demonstrations.

    ``utd_ratio`` is the update-to-data (UTD) ratio: so many gradient steps are due for each
    practised step. ``due`` counts them, so that the ratio is exact however steps and updates
    interleave. Weights that are not finite are taken back to the last good ones.
    ``successes_only`` says that no other episodes are added: few at first, so their part of a
    batch grows with them up to ``PLENTY``, and imitated, so their idle steps are left out.
    ``precision`` is that of updates here, whatever the checkpoint was trained with
    (``IQLConfig.precision``).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        demonstrations: EncodedDataset | None = None,
        *,
        successes_only: bool = False,
        utd_ratio: float = 1.0,
        learning_rate: float = LEARNING_RATE,
        precision: Literal["float32", "auto"] = "auto",
        capacity: int = CAPACITY,
        seed: int = 0,
    ) -> None:
        check_learner_inputs(checkpoint, demonstrations, utd_ratio)
        self.checkpoint = checkpoint
        self.successes_only = successes_only
        self.utd_ratio = utd_ratio
        self.diverged = 0  # times that weights were taken back
        codes, actions = checkpoint.vqvae.latent.codes, len(checkpoint.actions)
        self.online = ReplayBuffer(capacity, codes, actions, checkpoint.config.iql.relabelling)
        self.offline = None
        if demonstrations is not None:
            self.offline = fill_buffer(demonstrations, checkpoint.config.iql)
        self._iql = checkpoint.iql.train().requires_grad_(True)
        self._iql.config = dataclasses.replace(self._iql.config, precision=precision)
        self._iql.q_target.requires_grad_(False)
        for optimiser in self._iql.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
        self._steps = 0
        self.inputs = {  # what a run that goes on must share with the one before
            "encoder_id": checkpoint.encoder_id,
            "seed": seed,
            "learn_from": "successes" if successes_only else "all",
            "utd_ratio": utd_ratio,
            "learning_rate": learning_rate,
            "demonstrations": None if demonstrations is None else demonstrations.content_hash(),
        }
        self._state = StageState(
            modules={"iql": self._iql},
            optimisers=self._iql.optimisers,
            generator=torch.Generator().manual_seed(seed),
            rng=np.random.default_rng(seed),
            fingerprint={"encoder_id": checkpoint.encoder_id, "seed": seed},
        )
        self._remember()

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
        if not len(self.online) and not (self.offline and len(self.offline)):
            return 0
        return math.floor(self._steps * self.utd_ratio + 1e-9) - self.updates

    def add(self, episode: PracticeEpisode, learn: bool = True) -> None:
        """Learn from this episode too; without ``learn`` its steps count for ``due`` alone.

        Raises InputError where its parts do not fit together.
        """
        if not np.isfinite(episode.actions).all():
            raise InputError("the episode has actions that are not finite: it is left out")
        if learn:
            kept = episode
            if self.successes_only:
                kept = without_idling(episode, self.checkpoint.actions)
            if kept.steps:
                self.online.add_trajectory(kept.codes, kept.actions, kept.targets)
        self._steps += episode.steps

    def update(self, run: Callable[..., Iterable] = map) -> dict[str, float]:
        """Make one gradient step; return its scalars. ``run``: see `accelerated_update`.

        ``diverged`` is 1 in the scalars when the step left numbers that are not finite: it was
        undone, together with those since the last ``remember``. Raises InputError without data.
        """
        config = self.checkpoint.config.iql
        codes = self._sample(config.batch_size, config.online_fraction)
        device = self.checkpoint.vqvae.codebook.device
        batch = make_batch(codes, self.checkpoint.vqvae, config.reward_epsilon, device)
        scalars = accelerated_update(self._iql, batch, run)
        metrics = {name: float(value) for name, value in scalars.items()}
        self._state.step += 1
        bad = not all(math.isfinite(value) for value in metrics.values())
        if bad:
            self._take_back()
        return {**metrics, "diverged": float(bad)}

    def weights(self, version: int) -> WeightsUpdate:
        """Return the weights to use from now on.

        These become the last good ones; where they are not finite, the last good ones are taken.
        """
        if all(torch.isfinite(value).all() for value in self._iql.state_dict().values()):
            self._remember()
        else:
            self._take_back()
        return WeightsUpdate.of(self._iql, version, self.checkpoint.encoder_id)

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

    def _sample(self, size: int, online_fraction: float) -> CodeBatch:
        """A batch of both buffers, or of the one that has anything."""
        rng = self._state.rng
        if self.offline is None or not len(self.offline):
            return self.online.sample(size, rng)
        if not len(self.online):
            return self.offline.sample(size, rng)
        plenty = min(1.0, len(self.online) / PLENTY) if self.successes_only else 1.0
        online = round(online_fraction * plenty * size)
        parts = [
            buffer.sample(count, rng)
            for buffer, count in ((self.online, online), (self.offline, size - online))
            if count
        ]
        return CodeBatch(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in CodeBatch.__dataclass_fields__
            }
        )

    def _remember(self) -> None:
        optimisers = {name: o.state_dict() for name, o in self._iql.optimisers.items()}
        self._good = copy.deepcopy((self._iql.state_dict(), optimisers))

    def _take_back(self) -> None:
        self.diverged += 1
        weights, optimisers = copy.deepcopy(self._good)
        self._iql.load_state_dict(weights)
        for name, state in optimisers.items():
            self._iql.optimisers[name].load_state_dict(state)


@dataclass(frozen=True)
class Agreement:
    """How well networks agree with demonstrations."""

    policy_loss: float  # -log pi(a | s, g), mean; goals relabelled as in training
    q_loss: float  # of the same transitions
    value_loss: float
    action_distance: float  # mean L2 of the policy's actions to those shown (5 in [-1, 1])


@torch.inference_mode()
def agreement(checkpoint: Checkpoint, data: EncodedDataset) -> Agreement:
    """Compare the checkpoint's networks with demonstrations.

    Losses are measured on one fixed draw of transitions. The policy's is not weighted by
    advantages (IQL eq. 7 is), because the weights change with Q and V. For the distance the policy
    pursues the last picture of each demonstration, and every transition counts once.
    """
    config, iql = checkpoint.config.iql, checkpoint.iql
    device = checkpoint.vqvae.codebook.device
    codes = fill_buffer(data, config).sample(SAMPLES, np.random.default_rng(0))
    batch: Batch = make_batch(codes, checkpoint.vqvae, config.reward_epsilon, device)
    target_q = iql.q_target(batch.latents, batch.actions, batch.goals).amin(0)
    policy_loss, _ = iql.policy_loss(batch, torch.zeros_like(target_q))
    distances = []
    for start, length in zip(data.starts, data.lengths, strict=True):
        frames = torch.from_numpy(data.codes[start : start + length].astype(np.int64)).to(device)
        latents = checkpoint.vqvae.lookup(frames)
        goals = latents[-1:].expand(length - 1, -1)
        shown = torch.from_numpy(data.actions[start : start + length - 1]).to(device)
        distances.append((iql.act(latents[:-1], goals) - shown).norm(dim=1).cpu().numpy())
    return Agreement(
        policy_loss=float(policy_loss),
        q_loss=float(iql.q_loss(batch)[1]["q/loss"]),
        value_loss=float(iql.value_loss(batch, target_q)[0]),
        action_distance=float(np.concatenate(distances).mean()),
    )


def fine_tune(
    checkpoint: Checkpoint,
    demonstrations: EncodedDataset,
    steps: int,
    *,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> OnlineLearner:
    """Make ``steps`` gradient steps of IQL on the demonstrations, in ``checkpoint.iql`` itself.

    ``progress`` hears the scalars of each step; it may raise, KeyboardInterrupt for one, and the
    steps made so far stay. Raises InputError for no steps, or numbers that stop being finite.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    learner = OnlineLearner(
        checkpoint, demonstrations, learning_rate=learning_rate, utd_ratio=0.0, seed=seed
    )
    for _ in range(steps):
        scalars = learner.update()
        if scalars["diverged"]:
            raise InputError(
                f"learning diverged after {learner.updates} steps: lower the learning rate"
            )
        if progress is not None:
            progress(scalars)
    return learner
