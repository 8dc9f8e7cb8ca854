# SPDX-License-Identifier: Apache-2.0
"""Content of the monitor page, from events of the graph, and the node that collects them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import cv2
import numpy as np
from ptp_interfaces.msg import ArmState
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32MultiArray, Float64, String

from ptp_nodes.operator.episode_video import backward_strip, strip
from ptp_nodes.operator.episode_watcher import EpisodeNews, WatchNode
from ptp_robot.urdf import ArmShapes
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    INSTRUCTION,
    JOINT_STATES,
    LATCHED,
    PLAN_ATTENTION,
    RECORDS,
)

CAMERA, OBSERVATION, PURSUED, GOAL, PLAN = "camera", "observation", "pursued", "goal", "plan"
TRACE = 500  # points of the tool's way that are kept
APART = 0.005  # m between two of them
REPEAT = 10.0  # s
LARGEST = 240  # pixels a side of the camera's image, that a browser keeps up
BLANK = np.full((48, 48, 3), 64, np.uint8)
SCALAR = "std_msgs/msg/Float64"
KEPT = QoSProfile(depth=50, reliability=LATCHED.reliability, durability=LATCHED.durability)


class Canvas(Protocol):
    """Where the board draws. Images are uint8 (H, W, 3) RGB, lengths in m."""

    def image(self, name: str, pixels: np.ndarray) -> None:
        """Show an image in the place of that name."""

    def number(self, node: str, name: str, value: float) -> None:
        """Add a point to a curve of a node."""

    def links(self, frames: Mapping[str, np.ndarray]) -> None:
        """Move the arm's links to these poses (4, 4) in its base frame."""

    def trace(self, points: np.ndarray) -> None:
        """Show the way of the tool, (N, 3), oldest first."""

    def text(self, markdown: str) -> None:
        """Show the line that says where the run stands."""


class Board:
    """A `Watcher` that draws events. ``rate``: upper limit of the rate of each image, Hz.

    ``now`` is a steady clock in seconds.
    """

    def __init__(
        self,
        canvas: Canvas,
        shapes: ArmShapes,
        rate: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._canvas, self._shapes = canvas, shapes
        self._period, self._now = 1.0 / rate, now
        self._due: dict[str, float] = {}
        self._start: np.ndarray | None = None
        self._seen: np.ndarray | None = None
        self._seen_since = False  # since seldom changes were repeated
        self._goal: np.ndarray | None = None
        self._subgoals: list[np.ndarray] = []
        self._backward: np.ndarray | None = None  # goal of a plan that was made backwards
        self._attention: list[float] = []  # to its subgoals and goal
        self._told = ""  # instruction of the agent
        self._marked: int | None = None
        self._way: deque[tuple[float, float, float]] = deque(maxlen=TRACE)
        self._episode = ""
        self._done = self._successes = 0
        self._line = ""

    def beat(self, nodes: set[str]) -> None:
        """Say so while there is nothing to show; repeat what seldom changes."""
        if not self._line:
            self._say(f"Waiting for an episode. Nodes: {', '.join(sorted(nodes)) or 'none'}")
        # A page that opens late gets the newest first: let what it needs be among that.
        elif self._seen_since and self._is_due("repeat", REPEAT):
            self._seen_since = False
            self._show_line()
            if self._goal is not None:
                self._canvas.image(GOAL, self._goal)
                self._draw_plan()

    def camera(self, image: np.ndarray) -> None:
        """The display image of the camera."""
        if self._is_due(CAMERA):
            self._canvas.image(CAMERA, shrink(image, LARGEST))

    def observed(self, image: np.ndarray) -> None:
        """The observation of the policy."""
        self._seen, self._seen_since = image, True
        if self._is_due(OBSERVATION):
            self._canvas.image(OBSERVATION, image)

    def goal(self, image: np.ndarray) -> None:
        """The goal image: a new scene, without a plan yet."""
        self._goal = image
        self._start, self._subgoals, self._marked = self._seen, [], None
        self._backward = None
        self._canvas.image(GOAL, image)
        self._draw_plan()

    def planning(self, done: int, total: int, cost: float) -> None:
        """The planner came so far."""
        self._canvas.number("planner", "cost", cost)
        self._say(f"Planning: iteration {done} of {total}, cost {cost:.3f}")

    def planned(
        self, episode_id: str, subgoals: list[np.ndarray], goal: np.ndarray | None = None
    ) -> None:
        """The plan is finished; with ``goal`` it was made backwards from that."""
        self._start, self._subgoals, self._marked = self._seen, subgoals, None
        self._backward = goal
        if goal is not None:
            self._canvas.image(GOAL, goal)
        self._draw_plan()

    def attended(self, shares: list[float]) -> None:
        """How much the policy attends to each latent of the newest plan, and to the words."""
        self._attention = shares
        if self._backward is not None:
            self._draw_plan()

    def instructed(self, words: str) -> None:
        """What the agent is told to do; empty: nothing in words."""
        self._told = words
        if self._line:
            self._show_line()

    def stepped(self, episode_id: str, step: int, subgoal: int) -> None:
        """The policy took a step."""
        if subgoal != self._marked:
            self._marked = subgoal
            if self._backward is None:  # else the policy gets all of it
                self._draw_plan()

    def episode(self, news: EpisodeNews) -> None:
        """An episode's state changed."""
        if news.state == "resetting":
            self._way.clear()
            self._canvas.trace(np.empty((0, 3)))
        if news.state == "judged":
            self._done += 1
            self._successes += news.success
        what = {
            "judged": f"**{'success' if news.success else 'no success'}** "
            f"after {news.steps} steps",
            "failed": f"**failed**: {news.error}",
        }.get(news.state, news.state)
        if news.state == "finished":
            self._say(f"Finished{self._score()}")
        else:
            self._say(f"Task **{news.task}**, episode {news.episode + 1}: {what}{self._score()}")

    def joints(self, positions: Mapping[str, float]) -> None:
        """Joint positions, rad and m."""
        if self._is_due("arm"):
            self._canvas.links(self._shapes.frames(positions))

    def tool(self, position: tuple[float, float, float]) -> None:
        """The position of the TCP."""
        if self._way and math.dist(self._way[-1], position) < APART:
            return
        self._way.append(position)
        if len(self._way) > 1 and self._is_due("trace"):
            self._canvas.trace(np.array(self._way))

    def number(self, node: str, name: str, value: float) -> None:
        """A figure of a node."""
        self._canvas.number(node, name, value)

    def _score(self) -> str:
        if not self._done:
            return ""
        return f" · since this page began {self._successes} of {self._done} succeeded"

    def _say(self, line: str) -> None:
        if line != self._line:
            self._line = line
            self._show_line()

    def _show_line(self) -> None:
        told = f" · told: {self._told}" if self._told else ""
        self._canvas.text(self._line + told)

    def _is_due(self, name: str, period: float | None = None) -> bool:
        now = self._now()
        if now < self._due.get(name, now):
            return False
        self._due[name] = now + (period or self._period)
        return True

    def _draw_plan(self) -> None:
        if self._backward is not None:
            self._canvas.image(PURSUED, [*self._subgoals, self._backward][0])
            plan = self._start, self._subgoals, self._backward, self._attention
            self._canvas.image(PLAN, backward_strip(*plan))
            return
        pursued = BLANK
        if self._marked is not None:
            targets = [*self._subgoals, self._goal if self._goal is not None else BLANK]
            pursued = targets[min(self._marked, len(self._subgoals))]
        self._canvas.image(PURSUED, pursued)
        self._canvas.image(PLAN, strip(self._start, self._subgoals, self._goal, self._marked))


def shrink(image: np.ndarray, largest: int) -> np.ndarray:
    """An image with at most ``largest`` pixels a side, areas averaged."""
    share = largest / max(image.shape[:2])
    if share >= 1.0:
        return image
    height, width = (max(1, round(share * side)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class MonitorNode(WatchNode):
    """Passes messages to a Board."""

    def __init__(self, board: Board, **options) -> None:
        super().__init__(board, name="monitor", **options)
        self._board = board
        self._curves: set[str] = set()
        self.create_subscription(JointState, JOINT_STATES, self._joints_moved, COMMANDS)
        self.create_subscription(ArmState, ARM_STATE, self._arm_moved, RECORDS)
        self.create_subscription(Float32MultiArray, PLAN_ATTENTION, self._attended, LATCHED)
        self.create_subscription(String, INSTRUCTION, self._instructed, LATCHED)

    def _beat(self) -> None:
        super()._beat()
        for topic, types in self.get_topic_names_and_types():
            if types != [SCALAR] or topic in self._curves:
                continue
            for writer in self.get_publishers_info_by_topic(topic):
                full = f"{writer.node_namespace.rstrip('/')}/{writer.node_name}/"
                if topic.startswith(full):  # as `Scalars` names them
                    self._curves.add(topic)
                    note = partial(self._counted, writer.node_name, topic.removeprefix(full))
                    self.create_subscription(Float64, topic, note, KEPT)
                    break

    def _counted(self, node: str, name: str, message: Float64) -> None:
        self._board.number(node, name, message.data)

    def _attended(self, message: Float32MultiArray) -> None:
        self._board.attended(list(message.data))

    def _instructed(self, message: String) -> None:
        self._board.instructed(message.data)

    def _joints_moved(self, message: JointState) -> None:
        self._board.joints(dict(zip(message.name, message.position)))

    def _arm_moved(self, message: ArmState) -> None:
        position = message.pose.position
        self._board.tool((position.x, position.y, position.z))
