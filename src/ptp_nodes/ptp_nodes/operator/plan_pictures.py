# SPDX-License-Identifier: Apache-2.0
"""Pictures of plans for people: those in the plan, or those that the encoder node makes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ptp_interfaces.msg import ErrorCode, SubgoalPlan
from ptp_interfaces.srv import DecodeLatent
from rclpy.node import Node
from rclpy.task import Future

from ptp_core.errors import InputError
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import DECODE_LATENT

PERIOD = 0.5  # s between plans that are decoded
PATIENCE = 5.0  # s for the encoder's answer, until another plan is decoded


@dataclass(frozen=True)
class PicturedPlan:
    """Subgoals from near to far as uint8 (H, W, 3) RGB.

    goal: the goal that the plan was made backwards from, a picture too; None where the plan does
    not end at a goal of its own.
    """

    episode_id: str
    subgoals: list[np.ndarray] = field(default_factory=list)
    goal: np.ndarray | None = None

    @property
    def backward(self) -> bool:
        """Whether the agent made it backwards from a goal, and renews it all the time."""
        return self.goal is not None


class PlanPictures:
    """Calls ``shown(plan)`` for plans, in the node's executor; never blocks.

    Of plans without pictures one at a time is decoded, the newest, and at most two a second. A
    node that encodes nothing has no decoder: such plans are not shown.
    """

    def __init__(self, node: Node, shown: Callable[[PicturedPlan], None]) -> None:
        self._shown, self._log = shown, node.get_logger()
        self._decoder = node.create_client(DecodeLatent, DECODE_LATENT)
        self._asked = -math.inf  # when the newest request left
        self._awaited: Future | None = None

    def planned(self, message: SubgoalPlan) -> None:
        """A plan was published."""
        if message.images or not message.count:
            self._show(message, message.images)
            return
        now = time.monotonic()
        waits = self._awaited is not None and now - self._asked < PATIENCE
        if waits or now - self._asked < PERIOD or not self._decoder.service_is_ready():
            return
        self._asked = now
        self._awaited = asked = self._decoder.call_async(
            DecodeLatent.Request(latents=message.subgoals)
        )

        def answered(future: Future) -> None:
            if self._awaited is asked:
                self._awaited = None
            answer = future.result()
            if answer is None or answer.error_code != ErrorCode.NONE:
                reason = "no answer" if answer is None else answer.error_msg
                self._log.error(f"plan not shown: {reason}", throttle_duration_sec=5.0)
                return
            self._show(message, answer.images)

        asked.add_done_callback(answered)

    def _show(self, message: SubgoalPlan, images) -> None:
        try:
            pictures = [image_to_array(image) for image in images]
        except InputError as error:
            self._log.error(f"plan not shown: {error}", throttle_duration_sec=1.0)
            return
        goal = pictures.pop() if pictures and _backward(message) else None
        self._shown(PicturedPlan(message.episode_id, pictures, goal))


def _backward(plan: SubgoalPlan) -> bool:
    """Whether an agent predicted it from its goal on, which is then its last latent.

    A plan that was searched for ends at its goal, too; it has a cost, or comes with pictures.
    """
    if plan.images or plan.cost_names:
        return False
    for name in ("indices", "values"):
        goal, all_ = getattr(plan.goal, name), getattr(plan.subgoals, name)
        if len(goal) and all_[len(all_) - len(goal) :] == goal:
            return True
    return False
