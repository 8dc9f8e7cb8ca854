# SPDX-License-Identifier: Apache-2.0
"""Watcher of a practice run, for programs that are no nodes: events as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ptp_interfaces.action import PlanSubgoals
from ptp_interfaces.msg import EpisodeStatus, Observation, StepInfo, SubgoalPlan
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_nodes.operator.plan_pictures import PicturedPlan, PlanPictures
from ptp_ros.image_messages import image_to_array
from ptp_ros.node_main import background_node
from ptp_ros.topics import (
    EPISODE,
    GOAL_IMAGE,
    IMAGE_RAW,
    LATCHED,
    OBSERVATION,
    PLAN,
    PLAN_SUBGOALS,
    RECORDS,
    STEP,
)

BEAT = 0.5  # s between looks at the graph
STATES = {
    EpisodeStatus.RESETTING: "resetting",
    EpisodeStatus.ENCODING: "encoding",
    EpisodeStatus.PLANNING: "planning",
    EpisodeStatus.ACTING: "acting",
    EpisodeStatus.JUDGED: "judged",
    EpisodeStatus.FAILED: "failed",
    EpisodeStatus.FINISHED: "finished",
}


@dataclass(frozen=True)
class EpisodeNews:
    """Status of the run; see EpisodeStatus."""

    state: str  # a value of STATES
    episode_id: str  # as plans and steps name it; empty between episodes
    task: str
    episode: int  # over the whole run, from 0
    success: bool
    steps: int
    error: str


class Watcher(Protocol):
    """Callbacks for events of the run, called one at a time. Images are uint8 (H, W, 3) RGB.

    Order across topics is not kept: a plan or step may come before the status of its episode.
    """

    def beat(self, nodes: set[str]) -> None:
        """Called regularly; ``nodes``: the nodes on the graph."""

    def camera(self, image: np.ndarray) -> None:
        """The display image of the camera."""

    def observed(self, image: np.ndarray) -> None:
        """The observation of the policy."""

    def goal(self, image: np.ndarray) -> None:
        """The goal image."""

    def planning(self, done: int, total: int, cost: float) -> None:
        """So many iterations of the planner are done; the best cost so far."""

    def planned(
        self, episode_id: str, subgoals: list[np.ndarray], goal: np.ndarray | None = None
    ) -> None:
        """The plan is finished; its subgoals as images.

        ``goal``: of a plan that was made backwards from a goal of its own; the next one replaces
        it within the episode.
        """

    def stepped(self, episode_id: str, step: int, subgoal: int) -> None:
        """The policy took control step ``step``, from 0, towards ``subgoal``, from 0."""

    def episode(self, news: EpisodeNews) -> None:
        """An episode's state changed."""


class WatchNode(Node):
    """Passes messages to a Watcher. Its queues are long enough for a slow watcher."""

    def __init__(self, watcher: Watcher, name: str = "watch", **options) -> None:
        super().__init__(name, **options)
        self._watcher = watcher
        # Deeper than the topics' own depth: the watcher sees each state, not the newest alone.
        kept = QoSProfile(depth=50, reliability=LATCHED.reliability, durability=LATCHED.durability)
        loose = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        # Of what arrives together the executor takes images first.
        self.create_subscription(Image, IMAGE_RAW, self._camera, loose)
        self.create_subscription(Observation, OBSERVATION, self._observed, kept)
        self.create_subscription(Image, GOAL_IMAGE, self._goal, kept)
        self._pictures = PlanPictures(self, self._planned)
        self.create_subscription(SubgoalPlan, PLAN, self._pictures.planned, kept)
        self.create_subscription(StepInfo, STEP, self._stepped, RECORDS)
        self.create_subscription(EpisodeStatus, EPISODE, self._episode, kept)
        feedback = PlanSubgoals.Impl.FeedbackMessage
        self.create_subscription(feedback, f"{PLAN_SUBGOALS}/_action/feedback", self._planning, 50)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(BEAT, self._beat, clock=steady)

    def _beat(self) -> None:
        self._watcher.beat(set(self.get_node_names()))

    def _camera(self, message: Image) -> None:
        self._show(self._watcher.camera, message)

    def _observed(self, message: Observation) -> None:
        for image in message.images[:1]:
            self._show(self._watcher.observed, image)

    def _goal(self, message: Image) -> None:
        self._show(self._watcher.goal, message)

    def _planning(self, message) -> None:
        feedback: PlanSubgoals.Feedback = message.feedback
        done = feedback.level * feedback.iterations + feedback.iteration + 1
        self._watcher.planning(done, feedback.levels * feedback.iterations, feedback.best_cost)

    def _planned(self, plan: PicturedPlan) -> None:
        if plan.backward:
            self._watcher.planned(plan.episode_id, plan.subgoals, plan.goal)
        else:
            self._watcher.planned(plan.episode_id, plan.subgoals)

    def _stepped(self, message: StepInfo) -> None:
        self._watcher.stepped(message.episode_id, message.step, message.subgoal_index)

    def _episode(self, message: EpisodeStatus) -> None:
        news = EpisodeNews(
            state=STATES[message.state],
            episode_id=message.episode_id,
            task=message.task,
            episode=message.episode,
            success=message.success,
            steps=message.steps,
            error=message.error_msg,
        )
        self._watcher.episode(news)

    def _show(self, show, message: Image) -> None:
        try:
            show(image_to_array(message))
        except InputError as error:
            self.get_logger().error(f"not shown: {error}", throttle_duration_sec=1.0)


@contextmanager
def watching(watcher: Watcher, domain: int) -> Iterator[None]:
    """Context manager: ``watcher`` gets the events of a ROS domain, in a thread.

    The caller keeps handling signals. An exception of the watcher is raised at the end of the
    block.
    """
    with background_node(lambda context: WatchNode(watcher, context=context), domain):
        yield
