# SPDX-License-Identifier: Apache-2.0
"""Goal pictures for the target tasks: what the table looks like after the scripted plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptp_robot.action import ActionScale
from ptp_sim.scene import Scene
from ptp_sim.tasks import Task, judge
from ptp_sim.world import TableState, TableWorld

GOALS_PER_TASK = 32
"""Goal pictures of a task under the `paper` protocol, as the authors draw them."""
STAGE_STEPS = 160
REST_STEPS = 45
"""Control steps of an expert's retreat before a stage's end is photographed: open, rise, wait,
drift, wait, as most demonstrations end. Right after the work the arm still hides it."""
AFTERMATH = 6
"""A rollout goes on for 0 to 5 steps after its last stage, by its number (authors' option)."""


class PlanFailed(RuntimeError):
    """The scripted plan did not reach its goal in this scene."""


@dataclass(frozen=True)
class Goal:
    """A goal picture, uint8 (48, 48, 3), and the state that it shows, for judging only."""

    image: np.ndarray
    state: TableState


def run_plan(
    world: TableWorld, scene: Scene, task: Task, rng: np.random.Generator, aftermath: int = 0
) -> tuple[TableState, list[int]]:
    """Carry the task's scripted two-stage plan out from the scene.

    Returns:
        The final state and the steps that each stage took.

    Raises:
        PlanFailed: a stage did not finish in time, or its result was lost again.

    """
    scale = ActionScale()
    world.reset(scene)
    lengths = []
    for stage in task.stages:
        expert = stage.expert(world.state(), world.arm.grasp == "physical", rng)
        steps = 0
        while not expert.done:
            if steps == STAGE_STEPS:
                raise PlanFailed(f"task {task.name}: {stage} took over {STAGE_STEPS} steps")
            world.step(scale.to_delta(expert.act(world.state())))
            steps += 1
        lengths.append(steps)
        if stage is not task.stages[-1]:
            for _ in range(8):
                world.step(scale.to_delta(expert.act(world.state())))
    for _ in range(aftermath):
        world.step(scale.to_delta(expert.act(world.state())))
    return world.state(), lengths


def is_solved(start: TableState, final: TableState, task: Task) -> bool:
    """Whether the plan changed what the task asks for, and the result stands."""
    changed = not judge(start, final)["overall"]
    wanted = task.stages[0].done(final) and task.stages[1].done(final)
    return changed and wanted


def make_goal(
    world: TableWorld, scene: Scene, task: Task, rng: np.random.Generator, aftermath: int
) -> Goal:
    """Roll the scripted plan out and photograph its end.

    Raises:
        PlanFailed: the plan failed in this scene.

    """
    world.reset(scene)
    start = world.state()
    final, _ = run_plan(world, scene, task, rng, aftermath)
    if not is_solved(start, final, task):
        raise PlanFailed(f"task {task.name}: the scripted plan ended elsewhere")
    return Goal(image=world.observe(), state=final)


def stage_images(
    world: TableWorld, scene: Scene, task: Task, rng: np.random.Generator
) -> np.ndarray:
    """Photograph what each stage of the scripted plan but the last ends with, from this scene.

    The stage's expert works until it is done, then retreats for `REST_STEPS`, as at the end of
    the demonstrations; the next stage goes on from there. Privileged: experts and simulator know
    all poses. The world is left anywhere.

    Returns:
        uint8 (stages - 1, 48, 48, 3).

    Raises:
        PlanFailed: a stage did not finish in time, or its result was lost again.

    """
    scale = ActionScale()
    world.reset(scene)
    images = []
    for stage in task.stages[:-1]:
        expert = stage.expert(world.state(), world.arm.grasp == "physical", rng)
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
