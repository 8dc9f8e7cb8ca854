# SPDX-License-Identifier: Apache-2.0
"""Goal images of the target tasks: rendered after the scripted plan, or read from a file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ptp_core.data.array_limits import DAMAGED, open_npz
from ptp_robot.action import ActionScale
from ptp_sim.experts import Expert
from ptp_sim.scene import Scene
from ptp_sim.tasks import TASKS, Task, judge
from ptp_sim.world import TableState, TableWorld

GOALS_PER_TASK = 32
"""Goal pictures of a task under the `paper` protocol, as the authors draw them."""
STAGE_STEPS = 160
REST_STEPS = 45
"""Control steps of an expert's retreat before a stage's end is photographed: open, rise, wait,
drift, wait, as most demonstrations end. Right after the work the arm still hides it."""
STANDING_STEPS = 3
"""Successive control steps in which the can must stand before a goal image of it is taken."""
STANDING_HEIGHT = 0.002
"""Largest distance of a standing can's centre from its height at the start [m]."""
FALL_STEPS = 20
"""Control steps that a leaning can has to stand again, else it has fallen."""
AFTERMATH = 6
"""A rollout goes on for 0 to 5 steps after its last stage, by its number (authors' option)."""


class PlanFailed(RuntimeError):
    """The scripted plan did not reach its goal in this scene."""


@dataclass(frozen=True)
class GoalScene:
    """A goal image, uint8 (48, 48, 3), and the state that it shows, for the success check only."""

    image: np.ndarray
    state: TableState


def run_plan(
    world: TableWorld,
    scene: Scene,
    task: Task,
    rng: np.random.Generator,
    aftermath: int = 0,
    standing: bool = False,
) -> tuple[TableState, list[int]]:
    """Carry the task's scripted plan out from the scene.

    With ``standing`` it goes on until the can stands, where it leans at the end.

    Returns:
        The final state and the steps that each stage took.

    Raises:
        PlanFailed: a stage did not finish in time, its result was lost again, or the can fell.

    """
    scale = ActionScale()
    world.reset(scene)
    upright = world.state().can[2]
    stood = 0  # successive control steps in which the can stood
    lengths = []

    def step(expert: Expert) -> None:
        nonlocal stood
        world.step(scale.to_delta(expert.act(world.state())))
        stood = stood + 1 if abs(world.state().can[2] - upright) < STANDING_HEIGHT else 0

    for stage in task.stages:
        expert = task.expert(stage, world.state(), world.arm.grasp == "physical", rng)
        steps = 0
        while not expert.done:
            if steps == STAGE_STEPS:
                raise PlanFailed(f"task {task.name}: {stage} took over {STAGE_STEPS} steps")
            step(expert)
            steps += 1
        lengths.append(steps)
        if stage is not task.stages[-1] or stage.kind == "block":  # a block falls into its place
            for _ in range(8):
                step(expert)
    for _ in range(aftermath):
        step(expert)
    for _ in range(FALL_STEPS if standing else 0):
        if stood >= STANDING_STEPS:
            break
        step(expert)
    if standing and stood < STANDING_STEPS:
        raise PlanFailed(f"task {task.name}: the can fell over")
    return world.state(), lengths


def is_solved(start: TableState, final: TableState, task: Task) -> bool:
    """Whether the plan changed what the task asks for, and the result stands."""
    return not judge(start, final)["overall"] and task.finished(final)


def make_goal(
    world: TableWorld,
    scene: Scene,
    task: Task,
    rng: np.random.Generator,
    aftermath: int,
    standing: bool = False,
) -> GoalScene:
    """Roll out the scripted plan and render its end; see `run_plan`.

    Raises:
        PlanFailed: the plan failed in this scene.

    """
    world.reset(scene)
    start = world.state()
    final, _ = run_plan(world, scene, task, rng, aftermath, standing)
    if not is_solved(start, final, task):
        raise PlanFailed(f"task {task.name}: the scripted plan ended elsewhere")
    return GoalScene(image=world.observe(), state=final)


def stage_images(
    world: TableWorld, scene: Scene, task: Task, rng: np.random.Generator
) -> np.ndarray:
    """Render the end of each stage of the scripted plan but the last, from this scene.

    The stage's expert works until it is done, then retreats for `REST_STEPS`, as at the end of
    the demonstrations; the next stage goes on from there. Privileged: experts and simulator know
    all poses. The world's final state is undefined.

    Returns:
        uint8 (stages - 1, 48, 48, 3).

    Raises:
        PlanFailed: a stage did not finish in time, or its result was lost again.

    """
    scale = ActionScale()
    world.reset(scene)
    images = []
    for stage in task.stages[:-1]:
        expert = task.expert(stage, world.state(), world.arm.grasp == "physical", rng)
        left = STAGE_STEPS
        while not expert.done:
            if not left:
                raise PlanFailed(f"task {task.name}: {stage} took over {STAGE_STEPS} steps")
            world.step(scale.to_delta(expert.act(world.state())))
            left -= 1
        for _ in range(REST_STEPS):
            world.step(scale.to_delta(expert.act(world.state())))
        if not stage.done(world.state()):
            raise PlanFailed(f"task {task.name}: {stage} was undone by the retreat")
        images.append(world.observe())
    return np.stack(images)


SEED = 2205_08129
TRIES = 200


def goals_of(task: Task, world: TableWorld, count: int = GOALS_PER_TASK) -> list[GoalScene]:
    """Roll out the scripted plan until there are enough goals; only solved rollouts count."""
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


def write_goals(path: str | Path, goals: dict[str, list[GoalScene]]) -> None:
    """Write goals by task name as a compressed npz of plain arrays."""
    arrays = {}
    for name, items in goals.items():
        arrays[f"{name}/image"] = np.stack([g.image for g in items])
        for field in fields(TableState):
            values = [getattr(g.state, field.name) for g in items]
            arrays[f"{name}/{field.name}"] = np.stack([np.asarray(v) for v in values])
    np.savez_compressed(path, **arrays)


def read_goals(path) -> dict[str, list[GoalScene]]:
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
            "write it again with 'python -m ptp_sim.goal_images'"
        ) from error


def _goals(arrays: dict[str, np.ndarray], name: str) -> list[GoalScene]:
    goals = []
    for i, image in enumerate(arrays[f"{name}/image"]):
        values = {f.name: arrays[f"{name}/{f.name}"][i] for f in fields(TableState)}
        state = TableState(**{k: v if v.ndim else v.item() for k, v in values.items()})
        goals.append(GoalScene(image=image, state=state))
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
