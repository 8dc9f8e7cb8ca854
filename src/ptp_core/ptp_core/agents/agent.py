# SPDX-License-Identifier: Apache-2.0
"""The agent protocol: observations and a goal go in, actions come out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from ptp_core.errors import CheckpointError, DecisionError, GoalError, InputError, ObservationError

if TYPE_CHECKING:
    from torch import nn

    from ptp_core.planners.planner import Plan

GoalKind = Literal["image", "language", "latent", "state"]


@dataclass(frozen=True)
class ImageGoal:
    """How the scene should look: uint8 (H, W, 3) RGB, by camera."""

    images: Mapping[str, np.ndarray]
    kind: GoalKind = field(default="image", init=False)


@dataclass(frozen=True)
class LanguageGoal:
    """What to do, in words."""

    text: str
    kind: GoalKind = field(default="language", init=False)


@dataclass(frozen=True)
class LatentGoal:
    """A goal as a latent of the agent's own encoder; `AgentSpec.latent` describes it."""

    latent: np.ndarray
    kind: GoalKind = field(default="latent", init=False)


@dataclass(frozen=True)
class StateGoal:
    """The proprioception that the goal has, float32 (P,), where it is the whole state.

    Benchmarks without images have such goals; nodes do not.
    """

    state: np.ndarray
    kind: GoalKind = field(default="state", init=False)


Goal = ImageGoal | LanguageGoal | LatentGoal | StateGoal


@dataclass(frozen=True)
class Observation:
    """What an agent is given at one control step.

    images: uint8 (H, W, 3) RGB, by camera. proprioception: float32 (P,), or None. latent: the
    images as the agent's own encoder encodes them, where another process did that already;
    ``images`` may be empty then. seq counts up by one with each observation of a source; stamp is
    in seconds of that source's clock.
    """

    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    proprioception: np.ndarray | None = None
    seq: int = 0
    stamp: float = 0.0
    latent: np.ndarray | None = None


@dataclass(frozen=True)
class Decision:
    """What an agent decides at one control step.

    action: float32 (A,), each in [-1, 1], named by `AgentSpec.actions`. plan: set in the step in
    which a new plan comes into use. latent: of the observation, target: of what is pursued, both
    as `AgentSpec.latent` describes them; None where the agent has none. subgoal_index: number of
    the target in the plan; the plan's length stands for the goal itself. distance: from latent to
    target, in the agent's own measure. reward: of being that near, as the agent learns from it;
    None where it has none. switched: the next step pursues another target; timed_out: it does
    because the time for this one was over, not because it was near.
    """

    action: np.ndarray
    plan: Plan | None = None
    latent: np.ndarray | None = None
    target: np.ndarray | None = None
    subgoal_index: int = 0
    distance: float | None = None
    reward: float | None = None
    switched: bool = False
    timed_out: bool = False
    info: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraSpec:
    """A camera whose images an agent needs."""

    name: str
    height: int  # pixels
    width: int  # pixels


@dataclass(frozen=True)
class LatentSpec:
    """The latents of an agent's encoder.

    ``indices``: integers below ``codes``, indices into a codebook. ``values``: float32.
    """

    kind: Literal["indices", "values"]
    shape: tuple[int, ...]
    encoder_id: str  # sha256 of the encoder: latents of two encoders must never be mixed
    codes: int = 0  # entries of the codebook; indices only


@dataclass(frozen=True)
class AgentSpec:
    """An agent's inputs and outputs. Stored in its checkpoint."""

    agent: str  # name in the registry
    cameras: tuple[CameraSpec, ...]
    actions: tuple[str, ...]  # names of the action's dimensions, each in [-1, 1]
    goals: tuple[GoalKind, ...]  # accepted kinds of goals, the preferred one first
    proprioception: tuple[str, ...] = ()  # names of its dimensions, with units; (): not used
    latent: LatentSpec | None = None

    def check_goal(self, goal: Goal) -> None:
        """Raise GoalError unless this agent accepts the goal."""
        if goal.kind not in self.goals:
            raise GoalError(
                f"{self.agent} takes {_or(self.goals)} goals, not a goal of kind {goal.kind}: "
                "give another goal, or another agent"
            )
        if isinstance(goal, ImageGoal):
            self._check_images(goal.images, "goal", GoalError)
        elif isinstance(goal, LanguageGoal):
            if not goal.text.strip():
                raise GoalError(f"the instruction for {self.agent} is empty: say what to do")
        elif isinstance(goal, StateGoal):
            self._check_state(goal.state)
        else:
            self._check_latent(goal.latent, "goal", GoalError)

    def check_observation(self, observation: Observation) -> None:
        """Raise ObservationError unless the observation has what this agent needs."""
        if observation.latent is not None:
            self._check_latent(observation.latent, "observation", ObservationError)
        else:
            self.check_images(observation.images)
        if not self.proprioception:
            return
        found = observation.proprioception
        if found is None or found.shape != (len(self.proprioception),):
            has = "none" if found is None else f"shape {found.shape}"
            raise ObservationError(
                f"{self.agent} needs proprioception of {len(self.proprioception)} numbers "
                f"({', '.join(self.proprioception)}); the observation has {has}"
            )
        if not np.isfinite(found).all():
            raise ObservationError("the proprioception has values that are not finite")

    def check_images(self, images: Mapping[str, np.ndarray]) -> None:
        """Raise ObservationError unless these are the images that this agent needs, by camera."""
        self._check_images(images, "observation", ObservationError)

    def check_action(self, action: np.ndarray) -> None:
        """Raise DecisionError unless it has a finite number for each name of `actions`."""
        found = np.asarray(action)
        if found.shape != (len(self.actions),):
            raise DecisionError(
                f"{self.agent} gave an action of shape {found.shape}; its spec names "
                f"{len(self.actions)} numbers ({', '.join(self.actions)}): mend the agent"
            )
        if not np.isfinite(found).all():
            raise DecisionError(
                f"{self.agent} gave an action with values that are not finite: look at its "
                "weights and at what it saw"
            )

    def _check_images(
        self, images: Mapping[str, np.ndarray], what: str, error: type[Exception]
    ) -> None:
        for camera in self.cameras:
            image = images.get(camera.name)
            if image is None:
                raise error(
                    f'the {what} has no image of camera "{camera.name}", which {self.agent} '
                    f"needs; it has {_or(images) if images else 'none'}"
                )
            wanted = (camera.height, camera.width, 3)
            if image.shape != wanted or image.dtype != np.uint8:
                raise error(
                    f'the {what} image of camera "{camera.name}" is {image.dtype} {image.shape}; '
                    f"{self.agent} needs uint8 {wanted}"
                )

    def _check_state(self, state: np.ndarray) -> None:
        if state.shape != (len(self.proprioception),) or not np.isfinite(state).all():
            raise GoalError(
                f"the goal state must be {len(self.proprioception)} finite numbers "
                f"({', '.join(self.proprioception)}), not {state.dtype} {state.shape}"
            )

    def _check_latent(self, latent: np.ndarray, what: str, error: type[Exception]) -> None:
        spec = self.latent
        if spec is None:
            raise error(f"{self.agent} has no latents: give it the {what} as images")
        if latent.shape != spec.shape:
            raise error(f"the {what} latent has shape {latent.shape}, not {spec.shape}")
        if spec.kind == "indices" and latent.size:
            low, high = int(latent.min()), int(latent.max())
            if not 0 <= low <= high < spec.codes:
                raise error(
                    f"the {what} has codes outside 0 to {spec.codes - 1}: another encoder?"
                )
        elif not np.isfinite(latent).all():
            raise error(f"the {what} latent has values that are not finite: encode it again")

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values for a manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> AgentSpec:
        """Read the spec of a manifest. Raises CheckpointError, which names ``source``."""
        try:
            latent = values.get("latent")
            if latent is not None:
                latent = LatentSpec(**{**latent, "shape": tuple(latent["shape"])})
            return cls(
                agent=values["agent"],
                cameras=tuple(CameraSpec(**camera) for camera in values["cameras"]),
                actions=tuple(values["actions"]),
                goals=tuple(values["goals"]),
                proprioception=tuple(values.get("proprioception", ())),
                latent=latent,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source}: the agent's spec is damaged ({error!r})") from error


@dataclass(frozen=True)
class AgentSeeds:
    """One seed in [0, 2^32) for each use of randomness in an episode."""

    plan: int
    policy: int


Cancelled = Callable[[], bool] | None


class Agent(Protocol):
    """Acts towards a goal, one decision a control step.

    The agent decides when it plans: in ``reset``, on reaching a subgoal, every n steps or every
    step. Every method raises InputError (GoalError, ObservationError) for input that it cannot
    use, and PlanCancelled when ``cancelled()`` returns true.
    """

    spec: AgentSpec
    settings: Mapping[str, Any]  # plain values that decisions depend on, beside the checkpoint
    learned: nn.Module | None  # network whose weights an update replaces; None: none

    def reset(
        self,
        observation: Observation,
        goal: Goal,
        seeds: AgentSeeds,
        *,
        subgoals: Sequence[Goal] | None = None,
        cancelled: Cancelled = None,
    ) -> None:
        """Begin an episode: the same observation, goal and seeds give the same decisions.

        ``subgoals``: subgoals from near to far that the agent pursues instead of planning. Raises
        GoalError where the agent cannot do that.
        """
        ...

    def act(self, observation: Observation, cancelled: Cancelled = None) -> Decision:
        """Decide what to do now. Call it once a control step, after ``reset``."""
        ...

    def distance(self, observation: Observation) -> float | None:
        """Distance to the goal in the agent's own measure; None where it has none."""
        ...


class LatentAgent(Agent, Protocol):
    """An agent with an encoder: `AgentSpec.latent` is not None."""

    def encode(self, observation: Observation) -> np.ndarray:
        """The observation's latent."""
        ...

    @property
    def goal_latent(self) -> np.ndarray:
        """The latent of the goal of this episode."""
        ...


@runtime_checkable
class RedirectableAgent(Protocol):
    """An agent whose goal may change in the middle of an episode."""

    def check_goal(self, goal: Goal) -> None:
        """Raise GoalError or ConfigError, as ``reset`` would, for a goal that it cannot use.

        Changes nothing, so that another thread may call it while the agent acts. It may load a
        language model.
        """
        ...

    def pursue(self, goal: Goal) -> None:
        """Pursue another goal from the next ``act`` on; raises as `check_goal`."""
        ...


def warm_up(agent: Agent) -> None:
    """Let the agent act once on a black scene, with the cheapest goal of its spec.

    The first call of a network pays for its set-up; done beforehand, nobody waits for it later.
    The next ``reset`` makes the agent forget the scene. An agent that takes no such scene stays as
    it is.
    """
    spec = agent.spec
    observation = _nothing(spec)
    subgoals = None if spec.latent is None else ()  # no plan: that would take long
    with contextlib.suppress(InputError):
        agent.reset(observation, _goal(spec), AgentSeeds(0, 0), subgoals=subgoals)
        agent.act(observation)


def _nothing(spec: AgentSpec) -> Observation:
    """Zeros for everything that the agent looks at."""
    felt = np.zeros(len(spec.proprioception), np.float32) if spec.proprioception else None
    if spec.latent is not None:
        return Observation(proprioception=felt, latent=_latent(spec))
    return Observation(_images(spec), felt)


def _goal(spec: AgentSpec) -> Goal:
    if "latent" in spec.goals and spec.latent is not None:
        return LatentGoal(_latent(spec))
    if "state" in spec.goals:
        return StateGoal(np.zeros(len(spec.proprioception), np.float32))
    return LanguageGoal("stay") if "language" in spec.goals else ImageGoal(_images(spec))


def _latent(spec: AgentSpec) -> np.ndarray:
    return np.zeros(spec.latent.shape, np.uint32 if spec.latent.kind == "indices" else np.float32)


def _images(spec: AgentSpec) -> dict[str, np.ndarray]:
    return {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in spec.cameras}


def _or(names) -> str:
    return " or ".join(f"{name}" for name in names)
