#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Record what the released checkpoint does, for test/test_golden_actions.py.

    . .venv/ptp_env.sh && python test/golden/record.py

writes released.npz beside this file anew, from the checkpoint in models/ and the simulated table.
Nothing else writes it. Do so only when the released networks, their settings or the seeds of
episodes change on purpose, and say why in the commit.

The file holds three episodes of each of the tasks A, B and C, protocol "varied": the goal picture,
the observations of 60 control steps, and what the checkpoint decided. After them the last
observation is shown again until the time on the subgoal is over, so that the follower's timeout
shows in the actions too. One episode of each task has a plan of three levels with eight subgoals
as well.

Observations are stored because contact differs between machines, while networks and planner do
not: whoever replays the file needs no simulator. A search may still hinge on rounding, where two
candidates cost nearly the same. Therefore the seeds are the first of 0, 1, 2, ... whose plans stay
the same, to the code, when every weight changes by a millionth. Plans of three levels rarely do;
the file says with which arithmetic they were made.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from ptp_bringup.share_folder import released_checkpoint
from ptp_core.agents.ptp import make_planner
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import PlannerConfig
from ptp_core.rollout.episode_results import episode_seeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint

FILE = Path(__file__).with_name("released.npz")
TASKS = ("A", "B", "C")
EPISODES = 3  # of each task
STEPS = 60  # control steps whose observations are stored
HELD = 100  # control steps more at the last observation; the released timeout is 150 steps
THREE_LEVELS = {"levels": 3, "horizons": "finest", "subgoals": 8}
ROUNDING = 1e-6  # relative change of every weight that may not change a plan


@dataclass(frozen=True)
class Decisions:
    """What was decided in one episode of T steps with K subgoals."""

    codes: np.ndarray  # uint16 (T, 144), of the observations
    actions: np.ndarray  # float32 (T, 5)
    pursued: np.ndarray  # uint8 (T,), number of the subgoal; K stands for the goal
    plan_codes: np.ndarray  # uint16 (K, 144)
    plan_cost: float


def decide(
    checkpoint: Checkpoint,
    env: gymnasium.Env,
    seed: int,
    task: str,
    steps: int,
    planner: PlannerConfig | None = None,
) -> Decisions:
    """Plan and act for ``steps`` control steps in episode 0 of ``seed``, as ``ptp evaluate`` does.

    ``planner`` None takes the checkpoint's settings. This is the one place that knows the
    library's classes: whatever replaces them, the decisions stay the same.
    """
    codes, actions, pursued = [], [], []

    def note(decision) -> None:
        codes.append(decision.latent)
        actions.append(decision.action)
        pursued.append(decision.subgoal_index)

    plans = []
    run_episode(
        env,
        SubgoalAgent(checkpoint, make_planner(checkpoint, planner)),
        options={"task": task, "protocol": "varied"},
        seeds=episode_seeds(seed, task, 0),
        max_steps=steps,
        on_step=note,
        on_plan=plans.append,
    )
    return Decisions(
        np.array(codes),
        np.array(actions),
        np.array(pursued, np.uint8),
        plans[0].codes.numpy().astype(np.uint16),
        plans[0].cost,
    )


class Shown(gymnasium.Env):
    """Observations one after the other, whatever is done; the last of them for ever."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)

    def __init__(self, images: Sequence[np.ndarray], goal: np.ndarray) -> None:
        """Show ``images``, uint8 (48, 48, 3) each, on the way to ``goal``, of the same shape."""
        self._images = images
        self._info: dict[str, Any] = {"goal_image": goal, "success": False}
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Show the first observation."""
        self._step = 0
        return self._images[0], self._info

    def step(self, action):
        """Show the next observation."""
        self._step = min(self._step + 1, len(self._images) - 1)
        return self._images[self._step], 0.0, False, False, self._info


class Watched(gymnasium.Wrapper):
    """Keeps the goal picture and every observation of an episode."""

    def reset(self, **arguments):
        """Start an episode, and forget the one before."""
        image, info = self.env.reset(**arguments)
        self.images, self.goal = [image], info["goal_image"]
        return image, info

    def step(self, action):
        """Do a step, and keep what is seen after it."""
        result = self.env.step(action)
        self.images.append(result[0])
        return result


def three_levels(checkpoint: Checkpoint) -> PlannerConfig:
    """The paper's hierarchy with the released search effort."""
    return dataclasses.replace(checkpoint.config.planner, **THREE_LEVELS)


def pack(images: Sequence[np.ndarray]) -> np.ndarray:
    """Differences between frames, uint8 modulo 256: nearly all are 0, which zip packs well."""
    frames = np.stack(images)
    return np.concatenate([frames[:1], np.diff(frames, axis=0)])


def unpack(packed: np.ndarray) -> np.ndarray:
    """The frames that ``pack`` was given, uint8 (T, 48, 48, 3)."""
    return np.cumsum(packed, axis=0, dtype=np.uint8)


def shaken(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """A copy whose weights differ by about ``ROUNDING`` of their size."""
    changed = copy.deepcopy(checkpoint)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in (changed.vqvae, changed.generators, changed.iql):
            for weights in network.parameters():
                weights.mul_(1.0 + ROUNDING * torch.randn(weights.shape, generator=noise))
    return changed


def arithmetic() -> str:
    """Tells processors and versions of torch apart that round otherwise."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randn((16, 32, 12, 12), generator=numbers)
    kernels = torch.randn((32, 32, 3, 3), generator=numbers)
    matrix = torch.randn((256, 4608), generator=numbers)
    seen = torch.nn.functional.conv2d(images, kernels, padding=1)
    found = torch.linalg.vector_norm(seen.flatten(1) @ matrix.T, dim=1)
    return hashlib.sha256(found.numpy().tobytes()).hexdigest()


def main() -> None:
    """Write the file."""
    from ptp_sim.env import make_env

    checkpoint = load_checkpoint(released_checkpoint())
    others = [shaken(checkpoint, seed) for seed in range(3)]
    table = Watched(make_env())

    kept: dict[str, Any] = {"arithmetic": arithmetic()}
    for task in TASKS:
        number, seeds = 0, itertools.count()
        while number < EPISODES:
            seed = next(seeds)
            decide(checkpoint, table, seed, task, STEPS)
            env = Shown(table.images, table.goal)
            found = decide(checkpoint, env, seed, task, STEPS + HELD)
            again = (decide(other, env, seed, task, 1) for other in others)
            if not all((other.plan_codes == found.plan_codes).all() for other in again):
                continue
            values = dataclasses.asdict(found)
            values |= {"seed": seed, "images": pack(table.images), "goal": table.goal}
            kept |= {f"{task}{number}_{name}": value for name, value in values.items()}
            first = int(np.argmax(found.pursued))
            print(f"task {task}, seed {seed}: on the goal itself from step {first}", flush=True)
            if number == 0:
                deep = decide(checkpoint, env, seed, task, 1, three_levels(checkpoint))
                kept[f"{task}_three_levels_codes"] = deep.plan_codes
                kept[f"{task}_three_levels_cost"] = deep.plan_cost
                for other in others:
                    shaky = decide(other, env, seed, task, 1, three_levels(checkpoint))
                    print(
                        f"    three levels: {np.mean(shaky.plan_codes != deep.plan_codes):.1%} "
                        "of the codes and "
                        f"{abs(shaky.plan_cost / deep.plan_cost - 1.0):.2%} of the cost "
                        "hinge on rounding",
                        flush=True,
                    )
            number += 1
    table.close()
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
