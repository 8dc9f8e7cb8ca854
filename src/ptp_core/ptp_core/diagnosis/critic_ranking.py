# SPDX-License-Identifier: Apache-2.0
"""Does the critic know better actions from worse ones? Its ranking on held-out demonstrations.

Only steps in which the work is still being done count, with the last frame as the goal. A critic
that knows nothing ranks the expert's action first in 50 % of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ptp_core.data.dataset import Dataset, split_count
from ptp_core.data.encoded_dataset import EXPERT_ACTIONS, DatasetView, EncodedDataset
from ptp_core.data.trajectory import GRIPPER, action_names
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError
from ptp_core.learning.iql import IQL, clamp_value

MOST_TRAJECTORIES = 300
BATCH = 1024  # steps
AHEAD = 5  # control steps between the two values of V that are compared
DIFFERENT = 1e-6  # largest difference of two actions that count as the same


def held_out(data: Dataset, training_fraction: float, most: int = MOST_TRAJECTORIES) -> Dataset:
    """At most ``most`` trajectories of the validation part of ``data``, evenly spaced."""
    rest = data.indices[split_count(len(data), training_fraction) :]
    chosen = np.unique(np.linspace(0, len(rest) - 1, min(most, len(rest))).astype(int))
    return data.part([rest[number] for number in chosen])


@torch.inference_mode()
def critic_ranking(iql: IQL, vqvae: VQVAE, data: EncodedDataset, seed: int = 0) -> dict[str, Any]:
    """Rank the expert's action against others by Q, and steps of the work by V.

    Q is the smaller one of the two target networks, which the policy's weights come from. Result:

        {"trajectories", "steps",
         "better_than": {"no motion": {"share", "steps"}, "opposite motion", "motion of another
                         frame", "flipped gripper": where there is a gripper},
         "v_rises": {"share", "steps"}: V(s_t+AHEAD, g) > V(s_t, g) while the work lasts,
         "weights": {"p10", "p50", "p90"} of min(exp(A / temperature), clip), recorded actions}

    Equal values count half. An alternative counts where it differs from the expert's action.
    ``seed`` draws the other frames. Raises DatasetError without expert actions or working steps.
    """
    if EXPERT_ACTIONS not in data.columns:
        raise DatasetError(
            "the data hold no expert actions, which the critic's ranking needs: collect them with "
            "ptp collect of this version"
        )
    data = data.by_segment()
    view, working = DatasetView(data), data.working()
    everything = np.arange(len(data.codes))
    last = view.last(everything)
    frames = everything[working & (everything < last)]
    if not len(frames):
        raise DatasetError("the data hold no step in which the work is still being done")
    expert = np.clip(data.columns[EXPERT_ACTIONS][frames], -1.0, 1.0).astype(np.float32)
    others = _alternatives(expert, action_names(data.action_channels, expert.shape[1]), seed)
    ahead = np.minimum(frames + AHEAD, last[frames])
    goes_on = (frames + AHEAD <= last[frames]) & working[ahead]

    won: dict[str, list[np.ndarray]] = {name: [] for name in others}
    rises, weights = [], []
    for first in range(0, len(frames), BATCH):
        rows = slice(first, first + BATCH)
        latents, later, goals = (
            vqvae.latents_of(data.codes[at])
            for at in (frames[rows], ahead[rows], last[frames[rows]])
        )

        def q(actions: np.ndarray, latents=latents, goals=goals) -> torch.Tensor:
            return iql.q_target(latents, torch.from_numpy(actions), goals).amin(0)

        by_expert = q(expert[rows])
        for name, actions in others.items():
            won[name].append(_greater(by_expert, q(actions[rows])))
        now = iql.value(latents, goals)
        rises.append(_greater(iql.value(later, goals), now))
        advantage = clamp_value(q(data.actions[frames[rows]]), iql.config) - now
        weight = torch.exp(advantage / iql.config.temperature).clamp(max=iql.config.weight_clip)
        weights.append(weight.numpy())

    quantiles = np.quantile(np.concatenate(weights), [0.1, 0.5, 0.9])
    return {
        "trajectories": len(data.lengths),
        "steps": len(frames),
        "better_than": {
            name: _share(won[name], np.abs(expert - actions).max(1) > DIFFERENT)
            for name, actions in others.items()
        },
        "v_rises": _share(rises, goes_on),
        "weights": dict(zip(("p10", "p50", "p90"), map(float, quantiles), strict=True)),
    }


def _alternatives(expert: np.ndarray, names: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """Other actions float32 (n, A) for each of the expert's; the gripper or the motion stays."""
    gripper = np.array([name == GRIPPER for name in names])
    other = expert[np.random.default_rng(seed).permutation(len(expert))]
    found = {
        "no motion": np.where(gripper, expert, 0.0),
        "opposite motion": np.where(gripper, expert, -expert),
        "motion of another frame": np.where(gripper, expert, other),
    }
    if gripper.any():
        found["flipped gripper"] = np.where(gripper, -expert, expert)
    return {name: actions.astype(np.float32) for name, actions in found.items()}


def _greater(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """1 where the first value is greater, 0.5 where both are equal, else 0."""
    return ((torch.sign(first - second) + 1) / 2).numpy()


def _share(outcomes: list[np.ndarray], counted: np.ndarray) -> dict[str, Any]:
    """Mean of the outcomes that count, and their number; a share of None where none does."""
    steps = int(counted.sum())
    share = float(np.concatenate(outcomes)[counted].mean()) if steps else None
    return {"share": share, "steps": steps}
