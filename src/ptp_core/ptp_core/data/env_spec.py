# SPDX-License-Identifier: Apache-2.0
"""`EnvSpec`: the tasks, protocols, goals, cameras and actions that an environment declares.

An environment declares them in attributes of its class or instance; see ``spec_of``. This module
names no particular environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import gymnasium

from ptp_core.agents.agent import AgentSpec, CameraSpec, GoalKind
from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.trajectory import CAMERA, Channel, action_names
from ptp_core.errors import InputError, SpecError, quoted

UNNAMED = ""
"""The task of an environment that has one without a name."""


@dataclass(frozen=True)
class EnvSpec:
    """What an environment declares. () means undeclared; for protocols it means none."""

    name: str  # as the user gave it: module:factory
    tasks: tuple[str, ...]  # the default one first
    protocols: tuple[str, ...]  # ways in which scenes are drawn, the default one first
    goals: tuple[GoalKind, ...]  # kinds of goals that its tasks have
    cameras: tuple[CameraSpec, ...]
    actions: tuple[str, ...]  # names of an action's dimensions, each in [-1, 1]
    proprioception: tuple[str, ...]  # names of its dimensions
    names_actions: bool = True  # whether the environment declared the names
    default_tasks: tuple[str, ...] = ()  # those that commands run where none are named; (): all
    episode_steps: Mapping[str, int] = field(default_factory=dict)  # control steps, by task
    primitives: tuple[str, ...] = ()  # that its scripted expert can show
    instructions: Mapping[str, str] = field(default_factory=dict)  # sentence of demonstrations
    paraphrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # held out, by task

    def choose_tasks(self, asked: Sequence[str] | None) -> tuple[str, ...]:
        """Return ``asked``, or the default tasks where it is None or empty."""
        return tuple(dict.fromkeys(asked)) if asked else self.default_tasks or self.tasks

    def choose_task(self, asked: str | None) -> str:
        """Return ``asked``, or the first task where it is None."""
        return self.tasks[0] if asked is None else asked

    def paraphrase(self, task: str, episode: int) -> str:
        """One of the task's paraphrases; they take turns over episodes. InputError without one."""
        texts = self.paraphrases.get(task)
        if not texts:
            raise InputError(
                f"{self.name} declares no paraphrases of task {quoted(task)}: leave them out"
            )
        return texts[episode % len(texts)]

    def longest_episode(self, tasks: Iterable[str], usual: int) -> int:
        """Control steps of the longest of these tasks; ``usual`` for those that declare none."""
        return max(self.episode_steps.get(task, usual) for task in tasks)

    def choose_protocol(self, asked: str | None) -> str:
        """Return ``asked``; by default the first protocol, or "". InputError if unknown."""
        if not asked:
            return self.protocols[0] if self.protocols else ""
        if asked not in self.protocols:
            has = ", ".join(self.protocols) or "none: name none"
            raise InputError(f"unknown protocol {quoted(asked)}; {self.name} has {has}")
        return asked

    def check_agent(self, agent: AgentSpec) -> None:
        """Raise SpecError, or GoalError, where an agent cannot act here."""
        cure = f"use an agent that was trained on {self.name}"
        names = self.names_actions and self.actions != agent.actions
        if names or len(self.actions) != len(agent.actions):
            raise SpecError(
                f"{self.name} takes {len(self.actions)} numbers as action "
                f"({', '.join(self.actions)}); {agent.agent} gives {len(agent.actions)} "
                f"({', '.join(agent.actions)}): {cure}"
            )
        cameras = {camera.name: camera for camera in self.cameras}
        for camera in agent.cameras:
            found = cameras.get(camera.name)
            if found is not None and found != camera:
                raise SpecError(
                    f"the images of camera {quoted(camera.name)} of {self.name} "
                    f"are {found.height} x "
                    f"{found.width}; {agent.agent} needs {camera.height} x {camera.width}: {cure}"
                )
        known = self.proprioception and agent.proprioception
        if known and self.proprioception != agent.proprioception:
            raise SpecError(
                f"the proprioception of {self.name} is {', '.join(self.proprioception)}; "
                f"{agent.agent} needs {', '.join(agent.proprioception)}: {cure}"
            )
        if self.goals and not set(self.goals) & set(agent.goals):
            raise SpecError(
                f"{self.name} gives goals of kind {', '.join(self.goals)}; {agent.agent} takes "
                f"{', '.join(agent.goals)}: use another agent"
            )


def reset_options(task: str, protocol: str) -> dict[str, str]:
    """Options of ``env.reset`` for a task and a protocol; those that are "" are left out."""
    named = {"task": task, "protocol": protocol}
    return {key: value for key, value in named.items() if value}


def spec_of(env: gymnasium.Env, name: str) -> EnvSpec:
    """The spec of an environment: what it declares, the rest from its spaces.

    Attributes of ``env.unwrapped``, all optional:

        tasks                 names, the default first      one task without a name
        default_tasks         those run where none is named all
        episode_steps         {task: control steps}         those of the command
        protocols             names, the default first      none
        goals                 "image", "language"           whatever ``info`` has
        cameras               {name: (height, width)}       the images of the observation space
        action_names          one for each dimension        those of ``dataset_attributes``
        proprioception_names  one for each dimension        those of ``dataset_attributes``
        primitives            names for reset's "primitive"  none is known
        instructions          {task: sentence}              whatever ``info`` has
        paraphrases           {task: sentences}, held out   none

    Raises InputError, which names ``name``, for an invalid declaration.
    """
    inner = env.unwrapped
    goals = _names(inner, "goals", name)
    if unknown := [goal for goal in goals if goal not in get_args(GoalKind)]:
        kinds = ", ".join(get_args(GoalKind))
        raise InputError(f"{name}: goals has {quoted(unknown[0])}; there are {kinds}")
    shape = getattr(env.action_space, "shape", None)
    if shape is None or len(shape) != 1:
        raise InputError(f"{name}: actions must be a vector of numbers, not {env.action_space}")
    actions = _names(inner, "action_names", name) or _channels(inner, "action_channels")
    if actions and len(actions) != shape[0]:
        raise InputError(f"{name} names {len(actions)} numbers of an action; it takes {shape[0]}")
    return EnvSpec(
        name=name,
        tasks=_names(inner, "tasks", name) or (UNNAMED,),
        protocols=_names(inner, "protocols", name),
        goals=goals,
        cameras=_cameras(env, name),
        actions=actions or action_names((), shape[0]),
        proprioception=_names(inner, "proprioception_names", name)
        or _channels(inner, "proprioception_channels"),
        names_actions=bool(actions),
        default_tasks=_default_tasks(inner, name),
        episode_steps=_episode_steps(inner, name),
        primitives=_names(inner, "primitives", name),
        **_sentences(inner, name),
    )


def declared_spec(
    name: str, arguments: Mapping[str, Any], tasks: Sequence[str] = (), protocol: str = ""
) -> EnvSpec:
    """The spec of the environment that ``module:factory`` makes.

    Raises InputError where it cannot be made, and for ``tasks`` or a ``protocol`` that it lacks.
    """
    env = make_environment(name, dict(arguments))
    try:
        spec = spec_of(env, name)
        check_tasks(env, tasks, spec)
    finally:
        env.close()
    spec.choose_protocol(protocol)
    return spec


def check_tasks(env: gymnasium.Env, tasks: Sequence[str], spec: EnvSpec) -> None:
    """Raise InputError for a task that the environment lacks.

    A task that it does not declare is tried with a reset, as a subclass may have more.
    """
    for task in tasks:
        if task in spec.tasks:
            continue
        try:
            env.reset(seed=0, options={"task": task})
        except (ValueError, InputError):
            has = ", ".join(spec.tasks) or "one without a name: name none"
            raise InputError(f"unknown task {quoted(task)}; {spec.name} has {has}") from None


def _names(env: gymnasium.Env, attribute: str, name: str) -> tuple[str, ...]:
    value = getattr(env, attribute, ())
    fits = isinstance(value, (tuple, list)) and all(isinstance(entry, str) for entry in value)
    if not fits or len(set(value)) < len(value):
        raise InputError(f"{name}: {attribute} is {value!r}; it must be different names in a list")
    return tuple(value)


def _default_tasks(env: gymnasium.Env, name: str) -> tuple[str, ...]:
    found = _names(env, "default_tasks", name)
    if unknown := [task for task in found if task not in _names(env, "tasks", name)]:
        raise InputError(f'{name}: default_tasks has "{unknown[0]}", which tasks lacks')
    return found


def _episode_steps(env: gymnasium.Env, name: str) -> dict[str, int]:
    value = getattr(env, "episode_steps", {})
    fits = isinstance(value, Mapping) and all(isinstance(n, int) and n > 0 for n in value.values())
    if not fits:
        raise InputError(f"{name}: episode_steps is {value!r}; it must be {{task: control steps}}")
    return dict(value)


def _sentences(env: gymnasium.Env, name: str) -> dict[str, Any]:
    """Instructions and paraphrases; a paraphrase that demonstrations have is not held out."""
    said = getattr(env, "instructions", {})
    if not isinstance(said, Mapping) or not all(map(_is_sentence, said.values())):
        raise InputError(f"{name}: instructions is {said!r}; it must be {{task: sentence}}")
    held_out = getattr(env, "paraphrases", {})
    fits = isinstance(held_out, Mapping) and all(
        isinstance(texts, (tuple, list)) and all(map(_is_sentence, texts))
        for texts in held_out.values()
    )
    if not fits:
        raise InputError(
            f"{name}: paraphrases is {held_out!r}; it must be {{task: (sentence, ...)}}"
        )
    for task, texts in held_out.items():
        if shown := [text for text in texts if text in said.values()]:
            raise InputError(
                f"{name}: the paraphrase {quoted(shown[0])} of task {quoted(task)} is an "
                "instruction, too: demonstrations show it, so it is not held out"
            )
    held_out = {task: tuple(texts) for task, texts in held_out.items()}
    return {"instructions": dict(said), "paraphrases": held_out}


def _is_sentence(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _channels(env: gymnasium.Env, kind: str) -> tuple[str, ...]:
    attributes = getattr(env, "dataset_attributes", dict)()
    return tuple(Channel(**channel).name for channel in attributes.get(kind, ()))


def _cameras(env: gymnasium.Env, name: str) -> tuple[CameraSpec, ...]:
    declared = getattr(env.unwrapped, "cameras", None)
    if declared is None:
        space = getattr(env, "observation_space", None)
        parts = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {CAMERA: space}
        shapes = {key: getattr(part, "shape", None) for key, part in parts.items()}
        declared = {key: s[:2] for key, s in shapes.items() if s and len(s) == 3 and s[2] == 3}
    try:
        return tuple(CameraSpec(key, int(h), int(w)) for key, (h, w) in declared.items())
    except (AttributeError, TypeError, ValueError) as error:
        text = f"{name}: cameras is {declared!r}; it must be {{name: (height, width)}}"
        raise InputError(text) from error
