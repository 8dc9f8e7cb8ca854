# SPDX-License-Identifier: Apache-2.0
"""The file of fixed goals for the `paper` protocol. `python -m ptp_sim.goal_file` writes it."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

from ptp_core.data.npz import DAMAGED, open_npz
from ptp_sim.goals import AFTERMATH, GOALS_PER_TASK, Goal, PlanFailed, make_goal
from ptp_sim.tasks import TASKS, Task
from ptp_sim.world import TableState, TableWorld

SEED = 2205_08129
TRIES = 200


def goals_of(task: Task, world: TableWorld, count: int = GOALS_PER_TASK) -> list[Goal]:
    """Roll the scripted plan out until there are enough goals; only solved rollouts count."""
    goals = []
    for attempt in range(TRIES):
        # One letter gives its code point, with which the stored goals were made.
        number = int.from_bytes(task.name.encode(), "big")
        rng = np.random.default_rng([SEED, number, attempt])
        scene = task.scene.with_(block_yaw=float(rng.uniform(0.0, 2 * np.pi)))
        try:
            goals.append(make_goal(world, scene, task, rng, len(goals) % AFTERMATH))
        except PlanFailed:
            continue
        if len(goals) == count:
            return goals
    raise PlanFailed(f"task {task.name}: {len(goals)} of {count} goals in {TRIES} rollouts")


def write_goals(path: str | Path, goals: dict[str, list[Goal]]) -> None:
    """Write goals by task name as a compressed npz of plain arrays."""
    arrays = {}
    for name, items in goals.items():
        arrays[f"{name}/image"] = np.stack([g.image for g in items])
        for field in fields(TableState):
            values = [getattr(g.state, field.name) for g in items]
            arrays[f"{name}/{field.name}"] = np.stack([np.asarray(v) for v in values])
    np.savez_compressed(path, **arrays)


def read_goals(path) -> dict[str, list[Goal]]:
    """Read goals by task name.

    Raises:
        ValueError: the file is missing, truncated or lacks a field.

    """
    try:
        with open_npz(path) as data:
            arrays = {key: data[key] for key in data.files}
        return {name: _goals(arrays, name) for name in TASKS}
    except (*DAMAGED, TypeError, IndexError) as error:
        raise ValueError(
            f"goal file {path} cannot be read ({error}): "
            "write it again with 'python -m ptp_sim.goal_file'"
        ) from error


def _goals(arrays: dict[str, np.ndarray], name: str) -> list[Goal]:
    goals = []
    for i, image in enumerate(arrays[f"{name}/image"]):
        values = {f.name: arrays[f"{name}/{f.name}"][i] for f in fields(TableState)}
        state = TableState(**{k: v if v.ndim else v.item() for k, v in values.items()})
        goals.append(Goal(image=image, state=state))
    return goals


def main() -> None:
    """Write the goals of all target tasks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    default = Path(__file__).parent / "data" / "paper_goals.npz"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    world = TableWorld()
    write_goals(args.out, {name: goals_of(task, world) for name, task in TASKS.items()})
    print(f"wrote {GOALS_PER_TASK} goals for each of {', '.join(TASKS)} to {args.out}")


if __name__ == "__main__":
    main()
