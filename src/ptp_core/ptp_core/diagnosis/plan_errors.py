# SPDX-License-Identifier: Apache-2.0
"""How far are planned latents from those that demonstrations came to? Over a task's progress.

The question of Figs. 5 and 6 of LBP's paper (arXiv 2505.06861): planners that go forwards from
now, or predict everything at once, against one that goes backwards from the goal. The true latents
are those of the frames that the planner learns to predict; see its ``frames``. Errors are mean
squares on standardised latents. A planner that copies the current latent is the control.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ptp_core.agents.agent import Agent
from ptp_core.agents.instructed_agent import InstructedAgent, InstructedPlanner
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import ConfigError, DatasetError
from ptp_core.training.instructed_stage import InstructedFrames

STATES = 3000  # held-out states (paper)
BINS = 10  # of normalised progress t / H, from a task's first frame to its last
BATCH = 512  # states


def told_planner(agent: Agent) -> InstructedPlanner:
    """The planner of an agent that plans from instructions. Raises ConfigError for others."""
    planner = getattr(agent, "planner", None)
    if not isinstance(agent, InstructedAgent) or planner is None:
        raise ConfigError(f"{agent.spec.agent} plans no latents from an instruction")
    return planner


@torch.inference_mode()
def plan_errors(agent: Agent, data: EncodedDataset, seed: int = 0) -> dict[str, Any]:
    """Plan from ``STATES`` random frames of ``data`` with their instructions.

    Result:

        {"states", "trajectories",
         "progress": upper edges of the bins (BINS,),
         "levels": [{"steps": mean control steps ahead,
                     "error", "copied": mean squares over all states,
                     "errors": by bin (BINS,), None where a bin has no state}], near to far}

    Raises ConfigError for an agent without a planner that takes instructions, DatasetError for
    data without instructions, or with one that the agent does not know.
    """
    planner = told_planner(agent)
    if not any(known.instruction for known in data.metadata):
        raise DatasetError("the demonstrations have no instructions")
    frames = InstructedFrames(data, agent.sentences, agent.vqvae)
    rng = np.random.default_rng(seed)
    first = np.repeat(data.starts, data.lengths)
    possible = np.flatnonzero(np.arange(len(first)) < frames.last(np.arange(len(first))))
    now = rng.choice(possible, size=min(STATES, len(possible)), replace=False)
    wanted = planner.frames(now, frames.last(now), rng)
    errors, copied = [], []
    for rows in np.split(np.arange(len(now)), range(BATCH, len(now), BATCH)):
        start = frames.latents(now[rows])
        plan = planner.scale(planner.subgoals(start, frames.language(now[rows])))
        true = planner.scale(frames.latents(wanted[rows]))
        errors.append((plan - true).square().mean(-1).cpu())
        copied.append((planner.scale(start)[:, None] - true).square().mean(-1).cpu())
    error, copy = (torch.cat(parts).double().numpy() for parts in (errors, copied))
    progress = (now - first[now]) / (frames.last(now) - first[now])
    number = np.minimum((progress * BINS).astype(int), BINS - 1)

    def by_bin(values: np.ndarray) -> list[float | None]:
        parts = (values[number == one] for one in range(BINS))
        return [float(part.mean()) if len(part) else None for part in parts]

    return {
        "states": len(now),
        "trajectories": len(data.starts),
        "progress": [(one + 1) / BINS for one in range(BINS)],
        "levels": [
            {
                "steps": float((wanted[:, level] - now).mean()),
                "error": float(error[:, level].mean()),
                "copied": float(copy[:, level].mean()),
                "errors": by_bin(error[:, level]),
            }
            for level in range(wanted.shape[1])
        ],
    }
