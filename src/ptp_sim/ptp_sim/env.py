# SPDX-License-Identifier: Apache-2.0
"""The table as a gymnasium environment: camera images, and actions of five dimensions."""

from __future__ import annotations

import copy
from dataclasses import asdict
from importlib import resources
from typing import ClassVar

import gymnasium
import numpy as np

from ptp_core.data.trajectory import CAMERA, CARTESIAN, cartesian_channels
from ptp_robot.action import ActionScale, CartesianDelta
from ptp_sim.demonstration import Demonstration
from ptp_sim.distractors import draw_distractors
from ptp_sim.goal_images import GOALS_PER_TASK, GoalScene, PlanFailed, make_goal, stage_images
from ptp_sim.instructions import instruction
from ptp_sim.layouts import (
    PAPER_RANGES,
    SHIFTS,
    VARIED_RANGES,
    TrainingRanges,
    background,
    elsewhere,
    half_open,
    hand_beside,
    is_clear,
    shifted,
    training_scene,
    varied,
)
from ptp_sim.long_tasks import ALL_TASKS, LONG_TASKS, LongTask, tasks_beginning_as
from ptp_sim.primitives import KIND_WEIGHTS, PRIMITIVES, Primitive, allowed, draw_name, possible
from ptp_sim.scene import Scene, Surroundings, scene_numbers
from ptp_sim.stage_progress import StageProgress
from ptp_sim.task_demonstration import TaskDemonstration
from ptp_sim.tasks import EPISODE_STEPS, PAPER_TASKS, TASKS, Task, judge, task_named
from ptp_sim.world import PROPRIOCEPTION, TableState, TableWorld

ENV_ID = "ptp/Table-v0"
SHOWN = ("paper", "varied")  # protocols of demonstrations
AROUND = ("distractors", "backgrounds")  # protocols with other surroundings on varied scenes
PROTOCOLS = (*SHOWN, *SHIFTS, *AROUND)
OPTIONS = {
    *("task", "protocol", "goal", "stage_images"),
    *("primitive", "chain", "half_way", "elsewhere", "demonstrated_task"),
}
INTERRUPTED_STEPS = (3, 45)  # fewest and most control steps of a primitive that was broken off
WORDS = 1  # beside an episode's seed, for the generator of its instructions
DEMONSTRATION = "demonstration"
SCENE_GROUPS = {
    "drawer": {"drawer_x": 0.015, "drawer_y": 0.015, "drawer_yaw": 0.15},
    "opening": {"drawer_opening": 0.03},
    "can": {"can_x": 0.015, "can_y": 0.015},
    "block": {"block_x": 0.015, "block_y": 0.015, "block_z": 0.015},
    "hand": {"tcp_x": 0.02, "tcp_y": 0.02, "tcp_z": 0.02},
    "colours": {
        f"{name}_{part}": 0.1 for name in ("can", "block") for part in ("red", "green", "blue")
    },
    "bodies": {"size": 0.05, "friction": 0.1},
    "background": {
        f"{name}_{part}": 0.1 for name in ("table", "wall") for part in ("red", "green", "blue")
    },
    "distractors": {"distractors": 0.5},
}
"""What must be near in a demonstration for a scene to be covered: metres, radians, shares."""
GOAL_TRIES = 20
"""Tries of the scripted plan in one scene."""
PLACE_TRIES = 200
"""Other places that are drawn for an object until one is free."""
SCENE_TRIES = 200
"""Scenes that are drawn until the scripted plan solves one; of B, `shifted_poses`, one in ten."""


class TableEnv(gymnasium.Env):
    """One table with a goal image.

    Observation: uint8 (size, size, 3) RGB. Action: float32 (5,) in [-1, 1]: dx, dy, dz, dyaw and
    gripper (-1 open, +1 closed). Reward: 0 where the goal is reached, else -1. An episode never
    terminates; it is truncated after the steps of its task (`Task.steps`).

    `reset(options=...)` takes `task` (one of ALL_TASKS, or "demonstration"), `protocol` (one of
    PROTOCOLS), `goal` (number of the goal image under "paper"; drawn if left out),
    `stage_images` (True: the first `info` of a target task also holds them, see
    `ptp_sim.goal_images.stage_images`; the episode is the same) and, for demonstrations,
    `primitive` (the first one), `chain` (how many; see `Demonstration`), `half_way` (share of
    demonstrations that begin as if work had been broken off), `elsewhere` (True: the block or the
    can, whichever the primitive does not move, lies elsewhere than without this option; the first
    `info` says whether there was room) or, alone, `demonstrated_task` (one of LONG_TASKS; see
    `TaskDemonstration`). Under "varied" primitives draw every pose that the
    tasks draw there and a little more, show the can half as often as the block and the drawer, and
    have smooth experts (see `ptp_sim.experts`).
    `info` holds `state`, `scene` (at the reset; see `ptp_sim.scene.scene_numbers`),
    `proprioception` (see PROPRIOCEPTION), `instruction` and `success`; `goal_image` and `parts`
    for target tasks, and `stages_reached` of `stages` for long ones (see `StageProgress`); what
    `look` of the demonstration says for demonstrations.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 24}
    tasks = tuple(TASKS)
    default_tasks = PAPER_TASKS
    episode_steps: ClassVar = {name: task.steps for name, task in TASKS.items()}
    protocols = PROTOCOLS
    primitives = PRIMITIVES
    goals = ("image", "language")
    scene_groups: ClassVar = SCENE_GROUPS
    action_names = CARTESIAN
    proprioception_names = tuple(channel.name for channel in PROPRIOCEPTION)

    def __init__(self, grasp: str = "assisted", render_mode: str | None = None, **world):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode '{render_mode}' is unknown: use 'rgb_array' or None")
        self.render_mode = render_mode
        self.world = TableWorld(grasp=grasp, **world)
        size = self.world.camera.config.size
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.cameras = {CAMERA: (size, size)}
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(CARTESIAN),), np.float32)
        self.scale = ActionScale()
        self._paper_goals: dict[str, list[GoalScene]] = {}
        self._goal: GoalScene | None = None
        self._stage_images: np.ndarray | None = None
        self._demonstration: Demonstration | TaskDemonstration | None = None
        self._progress: StageProgress | None = None  # of a long task
        self._elsewhere: bool | None = None  # None: nobody asked to put an object elsewhere
        self._instruction = ""
        self._words: np.random.Generator | None = None  # draws instructions
        self._steps = 0
        self._limit = EPISODE_STEPS  # steps of an episode, or of each primitive of a chain

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode; see the class for the options.

        Raises:
            ValueError: an unknown option, task, protocol, primitive or goal number. The scene
                stays as it is then.

        """
        options = {"task": self.tasks[0], "protocol": self.protocols[0], **(options or {})}
        self._check(options)
        super().reset(seed=seed)
        if seed is not None or self._words is None:
            # Words have a generator of their own: drawing them changes no scene.
            self._words = np.random.default_rng([max(self.np_random_seed, 0), WORDS])
        if options.get("demonstrated_task") is not None:
            self._reset_task_demonstration(options)
            self._limit = EPISODE_STEPS
        elif options["task"] == DEMONSTRATION:
            self._reset_demonstration(options)
            self._limit = EPISODE_STEPS
        else:
            task = task_named(options["task"], ALL_TASKS)
            self._reset_task(task, options)
            self._limit = task.steps
            self._instruction = self._sentence(task)
        self._steps = 0
        return self.world.observe(), self._info(first=True)

    def _sentence(self, task: Task) -> str:
        if isinstance(task, LongTask):
            return task.instruction
        return instruction([stage.meaning for stage in task.stages], self._words)

    def _check(self, options: dict) -> None:
        unknown = set(options) - OPTIONS
        if unknown:
            raise ValueError(
                f"unknown reset option {sorted(unknown)}: use {', '.join(sorted(OPTIONS))}"
            )
        if options["protocol"] not in PROTOCOLS:
            raise ValueError(
                f"unknown protocol '{options['protocol']}': use one of {', '.join(PROTOCOLS)}"
            )
        if options["task"] == DEMONSTRATION:
            if options["protocol"] not in SHOWN:
                raise ValueError(
                    f"protocol '{options['protocol']}' is outside of what demonstrations show: "
                    f"use {' or '.join(SHOWN)}"
                )
            if options.get("demonstrated_task") is not None:
                task_named(options["demonstrated_task"], LONG_TASKS)
                return
            name, chain = options.get("primitive"), options.get("chain")
            if not 0.0 <= options.get("half_way", 0.0) <= 1.0:
                raise ValueError(f"half_way is {options['half_way']}: use a share from 0 to 1")
            if name is not None and name not in PRIMITIVES:
                raise ValueError(f"unknown primitive '{name}': use one of {', '.join(PRIMITIVES)}")
            if chain is not None and chain < 1:
                raise ValueError(f"a chain of {chain} primitives: show 1 or more")
            return
        if options.get("demonstrated_task") is not None:
            raise ValueError("demonstrated_task goes with the task 'demonstration' alone")
        task, number = task_named(options["task"], ALL_TASKS), options.get("goal")
        if task.name in LONG_TASKS and options["protocol"] in SHIFTS:
            # Hardly any such scene has room for all tasks that begin there.
            raise ValueError(f"task '{task.name}' has no shifted scenes: use another protocol")
        if task.name in LONG_TASKS and number is not None:
            raise ValueError(f"task '{task.name}' has no numbered goals: leave the goal out")
        if number is not None and options["protocol"] == "paper":
            goals = len(self.paper_goals(task.name))
            if not 0 <= number < goals:
                raise ValueError(f"goal {number} does not exist: use 0 to {goals - 1}")

    def _reset_demonstration(self, options: dict) -> None:
        rng, varies = self.np_random, options["protocol"] != "paper"
        ranges = VARIED_RANGES if varies else PAPER_RANGES
        name = options.get("primitive") or draw_name(rng, KIND_WEIGHTS if varies else None)
        share = options.get("half_way", 0.0)
        half_way = bool(share) and rng.random() < share
        primitive = None
        while primitive is None:
            scene = training_scene(rng, ranges)
            if half_way:
                primitive = self._begin_half_way(scene, name)
            else:
                primitive = possible(scene, rng, filled_drawer=varies).get(name)
                if primitive is not None:
                    self.world.reset(scene)
        asked = options.get("elsewhere", False)
        self._elsewhere = self._put_elsewhere(primitive, ranges) if asked else None
        self._demonstration = Demonstration(
            primitive, options.get("chain"), self._physical, rng, self._words, smooth=varies
        )
        self._goal = self._stage_images = self._progress = None

    def _reset_task_demonstration(self, options: dict) -> None:
        task, rng = task_named(options["demonstrated_task"], LONG_TASKS), self.np_random
        self.world.reset(self._draw_scene(task, options["protocol"], rng))
        state = self.world.state()
        self._demonstration = TaskDemonstration(task, state, self._physical, rng)
        self._goal = self._stage_images = self._progress = None

    @property
    def _physical(self) -> bool:
        return self.world.arm.grasp == "physical"

    def _put_elsewhere(self, primitive: Primitive, ranges: TrainingRanges) -> bool:
        """Put an object elsewhere that the primitive does not move, if one has room there."""
        state = self.world.state()
        if state.holding:
            return False
        scene, rng = state.scene(), self.np_random
        moved = primitive.target.kind
        names = [name for name in ("block", "can") if not moved.startswith(name)]
        for _ in range(PLACE_TRIES):
            other = elsewhere(scene, names[rng.integers(len(names))], rng, ranges)
            if other is not None and allowed(primitive, other, rng):
                self.world.reset(other)
                return True
        return False

    def _begin_half_way(self, scene: Scene, name: str) -> Primitive | None:
        """Leave the table as broken-off work leaves it; None where ``name`` is impossible.

        A third each: the hand low beside an object; the drawer half open; any primitive broken
        off after INTERRUPTED_STEPS, which may be ``name`` itself, with the block in the hand.
        """
        rng = self.np_random
        kind = rng.integers(3)
        if kind < 2:
            scene = (hand_beside, half_open)[kind](scene, rng)
            primitive = possible(scene, rng, filled_drawer=True).get(name)
            if primitive is not None and is_clear(scene):
                self.world.reset(scene)
                return primitive
            return None
        choices = possible(scene, rng, filled_drawer=True)
        if not choices:
            return None
        broken = list(choices.values())[rng.integers(len(choices))]
        self.world.reset(scene)
        expert = broken.expert(self._physical, rng)
        for _ in range(rng.integers(*INTERRUPTED_STEPS)):
            self.world.step(self.scale.to_delta(expert.act(self.world.state())))
        state = self.world.state()
        if state.holding:
            return broken if broken.name == name else None
        return possible(state.scene(), rng, filled_drawer=True).get(name)

    def _reset_task(self, task: Task, options: dict) -> None:
        if options["protocol"] == "paper" and task.name in TASKS:
            goals = self.paper_goals(task.name)
            number = options.get("goal")
            number = int(self.np_random.integers(len(goals))) if number is None else number
            goal, scene = goals[number], self._draw_scene(task, "paper", self.np_random)
        else:
            scene, goal = self._varied_goal(task, options["protocol"])
        wanted = options.get("stage_images")
        pictures = self._photograph_stages(scene, task) if wanted else None
        self._goal, self._demonstration, self._stage_images = goal, None, pictures
        self.world.reset(scene)
        long = isinstance(task, LongTask)
        self._progress = StageProgress(task, self.world.state()) if long else None

    def _photograph_stages(self, scene: Scene, task: Task) -> np.ndarray:
        # A copy: the episode draws the same numbers whether or not the images are taken.
        rng = copy.deepcopy(self.np_random)
        for _ in range(GOAL_TRIES):
            try:
                return stage_images(self.world, scene, task, rng)
            except PlanFailed:
                continue
        raise PlanFailed(f"task {task.name}: no stage of this scene in {GOAL_TRIES} tries")

    def paper_goals(self, name: str) -> list[GoalScene]:
        """Return the fixed goals of a task under the `paper` protocol, read from the package."""
        if name not in self._paper_goals:
            from ptp_sim.goal_images import read_goals

            path = resources.files("ptp_sim") / "data" / "paper_goals.npz"
            self._paper_goals = read_goals(path)
        return self._paper_goals[name]

    def sample_scene(self, task: str, protocol: str, seed: int) -> dict[str, float]:
        """The arrangement that `reset` with this seed draws first, as numbers by name.

        Nothing is simulated. `reset` draws again where the scripted plan fails.
        """
        self._check({"task": task, "protocol": protocol})
        rng = np.random.default_rng(seed)
        return scene_numbers(self._draw_scene(task_named(task, ALL_TASKS), protocol, rng))

    @staticmethod
    def _draw_scene(task: Task, protocol: str, rng: np.random.Generator) -> Scene:
        if protocol == "paper":
            return task.scene.with_(block_yaw=float(rng.uniform(0.0, 2 * np.pi)))
        if protocol == "varied":
            return varied(task.scene, rng, task.within_reach)
        if protocol in AROUND:
            # A generator of its own: the objects are where a varied scene of this seed has them.
            (own,) = rng.spawn(1)
            scene = varied(task.scene, rng, task.within_reach)
            if protocol == "backgrounds":
                return scene.with_(surroundings=background(own))
            found = draw_distractors(scene, tasks_beginning_as(task), own)
            return scene.with_(surroundings=Surroundings(distractors=found))

        def accept(scene: Scene) -> bool:
            return task.within_reach(scene) and task.plan_fits(scene)

        return shifted(task.scene, rng, SHIFTS[protocol], accept)

    def _varied_goal(self, task: Task, protocol: str) -> tuple[Scene, GoalScene]:
        for _ in range(SCENE_TRIES):
            scene = self._draw_scene(task, protocol, self.np_random)
            aftermath = int(self.np_random.integers(*task.aftermath, endpoint=True))
            try:
                # Long tasks are asked for in words; their goal image is no more than a picture.
                standing = not isinstance(task, LongTask)
                rng = self.np_random
                return scene, make_goal(self.world, scene, task, rng, aftermath, standing)
            except PlanFailed:
                continue
        raise PlanFailed(f"task {task.name}: no {protocol} scene in {SCENE_TRIES} could be solved")

    def step(self, action):
        """Scale the action and run one control step."""
        return self.apply(self.scale.to_delta(action))

    def apply(self, delta: CartesianDelta):
        """Run one control step with a command in SI units; returns what `step` returns."""
        self.world.step(delta)
        return self.look()

    def look(self):
        """Count what was done since the last look as one step; returns what `step` returns."""
        self._steps += 1
        info = self._info()
        reward = 0.0 if info["success"] else -1.0
        # A chain ends when its expert says so; the limit is there for one that never does.
        limit = self._limit * (info.get("segment", 0) + 1)
        return self.world.observe(), reward, False, self._steps >= limit, info

    def _info(self, first: bool = False) -> dict:
        state = self.world.state()
        info: dict = {"state": state.as_dict(), "proprioception": state.proprioception()}
        if first:
            info["scene"] = self._scene_numbers(state)
        if self._demonstration is not None:
            info |= self._demonstration.look(state)
            if first and self._elsewhere is not None:
                info["elsewhere"] = self._elsewhere
        else:
            info["instruction"] = self._instruction
            info |= self._judge(state)
            if first:
                info["goal_image"] = self._goal.image.copy()
                if self._stage_images is not None:
                    info["stage_images"] = self._stage_images
        return info

    def _scene_numbers(self, state: TableState) -> dict[str, float]:
        world = self.world
        look = {"bodies": world.bodies, "surroundings": world.surroundings}
        return scene_numbers(state.scene().with_(**look))

    def _judge(self, state: TableState) -> dict:
        """The success check: `success`, `parts` and, of a long task, the stages."""
        if self._progress is None:
            parts = judge(state, self._goal.state)
            return {"success": parts.pop("overall"), "parts": parts}
        self._progress.look(state)
        parts = self._progress.parts(state)
        return {
            "success": all(parts.values()),
            "parts": parts,
            "stages_reached": self._progress.reached,
            "stages": len(self._progress.task.stages),
        }

    def dataset_attributes(self) -> dict:
        """Return what a data set should remember of its origin: plain numbers and strings."""
        return {
            "env_id": ENV_ID,
            "robot": "sawyer, simulated",
            "grasp": self.world.arm.grasp,
            "action_scale": asdict(self.scale),
            "action_channels": [asdict(c) for c in cartesian_channels(**asdict(self.scale))],
            "proprioception_channels": [asdict(channel) for channel in PROPRIOCEPTION],
            "camera": asdict(self.world.camera.config),
            "step_seconds": self.world.step_seconds,
        }

    @property
    def goal_image(self) -> np.ndarray | None:
        """The goal image of this episode, uint8 (48, 48, 3); None in a demonstration."""
        return None if self._goal is None else self._goal.image

    def render(self) -> np.ndarray | None:
        """Return a larger image for people: uint8 (480, 480, 3)."""
        return self.world.camera.render(480) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the physics client."""
        self.world.close()


def make_env(**options) -> TableEnv:
    """Make the table; the default factory of every `ptp` command."""
    return TableEnv(**options)


def register() -> None:
    """Register the table with gymnasium as `ptp/Table-v0`."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(
            ENV_ID,
            entry_point="ptp_sim.env:TableEnv",
            max_episode_steps=max(task.steps for task in TASKS.values()),
            kwargs={},
        )


__all__ = ["ENV_ID", "GOALS_PER_TASK", "TASKS", "TableEnv", "make_env", "register"]
