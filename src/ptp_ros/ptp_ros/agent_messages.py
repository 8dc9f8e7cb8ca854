# SPDX-License-Identifier: Apache-2.0
"""Conversion between messages and what an agent reads, plans and decides."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ptp_interfaces.msg import ErrorCode, Latent, LatentArray, StepInfo, SubgoalPlan
from ptp_interfaces.msg import Goal as GoalMessage
from ptp_interfaces.msg import Observation as ObservationMessage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ptp_core.agents.agent import (
    AgentSpec,
    Decision,
    Goal,
    GoalKind,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    LatentSpec,
    Observation,
    StateGoal,
)
from ptp_core.episodes.latent_fields import latent_array, latent_lists
from ptp_core.errors import GoalError, InputError, ObservationError
from ptp_core.planners.planner import Plan
from ptp_ros.image_messages import array_to_image, colour_to_array
from ptp_ros.request_errors import RequestError

MOST_CAMERAS = 32  # of one observation; more cameras mean a damaged message
_OF_KIND: dict[GoalKind, Goal] = {
    "image": ImageGoal({}),
    "language": LanguageGoal(""),
    "latent": LatentGoal(np.zeros(0)),
}
_TYPECODES = {np.dtype(np.uint32): "I", np.dtype(np.float32): "f"}


def latent_message(latent: np.ndarray | None, encoder_id: str) -> LatentArray:
    """LatentArray of indices (whole numbers) or values (float); empty for None or no numbers.

    Raises InputError for values that are not finite.
    """
    if latent is None or not latent.size:
        return LatentArray()
    lists = latent_lists(latent)
    return LatentArray(encoder_id=encoder_id, **{k: flat(v) for k, v in lists.items()})


def flat(values: np.ndarray) -> array.array:
    """uint32 or float32 numbers in row-major order; rclpy takes such an array without checks."""
    return array.array(_TYPECODES[values.dtype], np.ascontiguousarray(values).tobytes())


def read_latent(
    message: LatentArray, spec: LatentSpec, what: str, *, stacked: bool = False
) -> np.ndarray:
    """uint32 or float32 latent of the spec's shape; ``stacked``: (N, ...), N from 0 on.

    Raises RequestError, which names ``what``: WRONG_ENCODER for a latent of another encoder, else
    BAD_LATENT.
    """
    try:
        latent = latent_array(message)
    except InputError as error:
        raise RequestError(ErrorCode.BAD_LATENT, f"the {what}: {error}") from None
    if stacked and not latent.size:
        dtype = np.uint32 if spec.kind == "indices" else np.float32
        return np.zeros((0, *spec.shape), dtype)
    if not latent.size:
        raise RequestError(ErrorCode.BAD_LATENT, f"the {what} is empty: encode it first")
    if message.encoder_id != spec.encoder_id:
        raise RequestError(
            ErrorCode.WRONG_ENCODER,
            f"the {what} is of encoder {message.encoder_id[:12] or '(unnamed)'}, this node has "
            f"{spec.encoder_id[:12]}: start all nodes with the same checkpoint",
        )
    shape = latent.shape[1:] if stacked else latent.shape
    if shape != tuple(spec.shape):
        raise RequestError(
            ErrorCode.BAD_LATENT,
            f"the {what} has shape {list(latent.shape)}; a latent of this encoder has "
            f"{list(spec.shape)}",
        )
    if (latent.dtype == np.uint32) != (spec.kind == "indices"):
        raise RequestError(
            ErrorCode.BAD_LATENT,
            f"the {what} has no {spec.kind}, which this encoder gives",
        )
    if spec.kind == "indices" and int(latent.max()) >= spec.codes:
        raise RequestError(
            ErrorCode.BAD_LATENT,
            f"the {what} has index {int(latent.max())}; the codebook ends at {spec.codes - 1}",
        )
    return latent


def goal_kind(message: GoalMessage) -> GoalKind:
    """The kind of the field that is filled. Raises RequestError for none and for several."""
    latent = message.latent
    filled: list[GoalKind] = []
    if message.images or message.cameras:
        filled.append("image")
    if message.instruction.strip():
        filled.append("language")
    if len(latent.shape) or len(latent.indices) or len(latent.values):
        filled.append("latent")
    if not filled:
        raise RequestError(
            ErrorCode.BAD_REQUEST, "the goal is empty: give an instruction, images or a latent"
        )
    if len(filled) > 1:
        raise RequestError(
            ErrorCode.BAD_REQUEST,
            f"the goal is given as {' and as '.join(filled)}: give one of them",
        )
    return filled[0]


def read_goal(message: GoalMessage, spec: AgentSpec) -> Goal:
    """The goal, checked against what the agent takes.

    Raises RequestError for a message with none or several goals and for latents and images that
    are damaged; GoalError where the agent takes no such goal, or lacks a camera's image.
    """
    kind = goal_kind(message)
    if kind not in spec.goals:
        spec.check_goal(_OF_KIND[kind])  # raises, and says which kinds it takes
    goal: Goal
    if kind == "language":
        goal = LanguageGoal(message.instruction)
    elif kind == "image":
        goal = ImageGoal(read_images(message.cameras, message.images, spec, "goal"))
    else:
        if spec.latent is None:
            raise GoalError(f"{spec.agent} has no latents: give it another goal")
        goal = LatentGoal(read_latent(message.latent, spec.latent, "goal's latent"))
    spec.check_goal(goal)
    return goal


def goal_message(goal: Goal, encoder_id: str = "", header: Header | None = None) -> GoalMessage:
    """Goal.msg of a goal. ``encoder_id``: of a latent; ``header``: of the images."""
    if isinstance(goal, StateGoal):
        raise GoalError("there is no message of a goal state: run such an agent with ptp evaluate")
    if isinstance(goal, LanguageGoal):
        return GoalMessage(instruction=goal.text)
    if isinstance(goal, LatentGoal):
        return GoalMessage(latent=latent_message(goal.latent, encoder_id))
    header = header or Header()
    images = [array_to_image(i, header.stamp, header.frame_id) for i in goal.images.values()]
    return GoalMessage(cameras=list(goal.images), images=images)


def read_images(
    cameras: Sequence[str], images: Sequence[Image], spec: AgentSpec, what: str
) -> dict[str, np.ndarray]:
    """RGB uint8 (H, W, 3) of each camera of the spec in the message, in the spec's order.

    A single image without a name is that of the spec's only camera. Raises RequestError for names
    and images that do not fit together, and for damaged images.
    """
    if not cameras and len(images) == 1 and len(spec.cameras) == 1:
        cameras = [spec.cameras[0].name]
    problem = ""
    if len(cameras) != len(images):
        problem = f"{len(images)} images and {len(cameras)} names of cameras: one name an image"
    elif len(cameras) > MOST_CAMERAS:
        problem = f"{len(cameras)} cameras: {MOST_CAMERAS} are the most"
    elif len(set(cameras)) != len(cameras):
        problem = "a camera's name twice"
    if problem:
        raise RequestError(ErrorCode.BAD_IMAGE, f"the {what} has {problem}")
    named = dict(zip(cameras, images, strict=True))
    found = {}
    for camera in spec.cameras:
        if camera.name in named:
            try:
                found[camera.name] = colour_to_array(named[camera.name])
            except InputError as error:
                raise RequestError(
                    ErrorCode.BAD_IMAGE, f'the {what}\'s image of camera "{camera.name}": {error}'
                ) from None
    return found


def observation_message(
    seq: int,
    header: Header,
    images: Mapping[str, np.ndarray],
    frames: Mapping[str, str] | None = None,
    proprioception: tuple[Sequence[str], np.ndarray] | None = None,
) -> ObservationMessage:
    """Observation.msg of RGB uint8 (H, W, 3) ``images`` by camera.

    ``frames``: frame ids of the images that differ from the header's. ``proprioception``: names
    and float32 (P,). Raises InputError where these do not fit together.
    """
    message = ObservationMessage(header=header, seq=seq, cameras=list(images))
    message.images = [
        array_to_image(pixels, header.stamp, (frames or {}).get(camera, header.frame_id))
        for camera, pixels in images.items()
    ]
    if proprioception is not None:
        names, values = proprioception
        values = np.asarray(values, np.float32)
        if values.shape != (len(names),):
            raise InputError(f"{len(names)} names for proprioception of shape {values.shape}")
        message.proprioception_names, message.proprioception = list(names), flat(values)
    return message


def read_observation(message: ObservationMessage, spec: AgentSpec) -> Observation:
    """An observation with the images that the agent uses, checked against its spec.

    Raises RequestError: BAD_IMAGE where images are damaged or a camera is missing, BAD_REQUEST for
    proprioception that is not the agent's.
    """
    images = read_images(message.cameras, message.images, spec, "observation")
    observation = Observation(
        images, read_proprioception(message, spec), message.seq, seconds(message.header)
    )
    try:
        spec.check_observation(observation)
    except ObservationError as error:
        raise RequestError(ErrorCode.BAD_IMAGE, str(error)) from None
    return observation


def read_encoded(message: Latent, spec: AgentSpec) -> Observation:
    """An observation from a latent of the encoder node, for an agent with latents.

    Raises RequestError with the encoder's error where it could not encode, WRONG_ENCODER and
    BAD_LATENT as `read_latent`, BAD_REQUEST for proprioception that is not the agent's.
    """
    if message.error_code != ErrorCode.NONE:
        raise RequestError(message.error_code, message.error_msg)
    if spec.latent is None:
        raise RequestError(ErrorCode.BAD_LATENT, f"{spec.agent} has no latents: it takes images")
    latent = read_latent(message.latent, spec.latent, "observation")
    return Observation(
        proprioception=read_proprioception(message, spec),
        seq=message.seq,
        stamp=seconds(message.header),
        latent=latent,
    )


def read_proprioception(
    message: ObservationMessage | Latent, spec: AgentSpec
) -> np.ndarray | None:
    """float32 (P,) for an agent that uses it, else None. RequestError where it does not fit."""
    if not spec.proprioception:
        return None
    names, values = tuple(message.proprioception_names), message.proprioception
    problem = ""
    if names != spec.proprioception or len(values) != len(names):
        problem = (
            f"{spec.agent} needs proprioception of {len(spec.proprioception)} numbers "
            f"({', '.join(spec.proprioception)}); the observation has {len(values)} "
            f"({', '.join(names[:MOST_CAMERAS]) or 'no names'})"
        )
    found = np.asarray(values, np.float32)
    if not problem and not np.isfinite(found).all():
        problem = "the proprioception has values that are not finite"
    if problem:
        raise RequestError(ErrorCode.BAD_REQUEST, problem)
    return found


def seconds(header: Header) -> float:
    """Stamp in seconds."""
    return header.stamp.sec + header.stamp.nanosec * 1e-9


def plan_message(
    plan: Plan, spec: LatentSpec, *, start: np.ndarray, goal: np.ndarray, seed: int
) -> SubgoalPlan:
    """SubgoalPlan from the latent ``start`` to the latent ``goal``, without images."""
    subgoals = plan.codes if spec.kind == "indices" else plan.latents
    return SubgoalPlan(
        start=latent_message(start, spec.encoder_id),
        goal=latent_message(goal, spec.encoder_id),
        count=len(subgoals),
        subgoals=latent_message(subgoals.numpy(), spec.encoder_id),
        cost=plan.cost,
        cost_names=list(plan.costs),
        cost_values=list(plan.costs.values()),
        seconds=plan.seconds,
        seed=seed,
    )


def step_info(spec: AgentSpec, decision: Decision, seen: Latent | ObservationMessage) -> StepInfo:
    """StepInfo of a decision on the message ``seen``."""
    latent = spec.latent
    info = StepInfo(
        observation_seq=seen.seq,
        observation_stamp=seen.header.stamp,
        latent=LatentArray() if latent is None else seen.latent,
        subgoal_index=decision.subgoal_index,
        distance=number(decision.distance),
        switched=bool(decision.switched),
        reward=number(decision.reward),
        action_names=list(spec.actions),
        action=decision.action.tolist(),
    )
    if latent is not None:
        info.target = latent_message(decision.target, latent.encoder_id)
    return info


def number(value: float | None) -> float:
    """The value, NaN for none."""
    return math.nan if value is None else float(value)
