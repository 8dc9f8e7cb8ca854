# SPDX-License-Identifier: Apache-2.0
"""Node: display for the operator: images side by side, subgoal strip, markers, path, video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path as PathMessage
from ptp_interfaces.msg import ArmState, EpisodeStatus, Observation, StepInfo, SubgoalPlan
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Float32MultiArray, String
from visualization_msgs.msg import Marker, MarkerArray

from ptp_core.errors import InputError
from ptp_nodes.operator.episode_video import (
    EpisodeVideo,
    backward_strip,
    side_by_side,
    strip,
    text_below,
)
from ptp_nodes.operator.plan_pictures import PicturedPlan, PlanPictures
from ptp_robot.action import Workspace
from ptp_ros.image_messages import array_to_image, image_to_array
from ptp_ros.node_main import run
from ptp_ros.parameters import declare, parameter
from ptp_ros.topics import (
    ARM_PATH,
    ARM_STATE,
    BASE_FRAME,
    CAMERA_FRAME,
    EPISODE,
    GOAL_IMAGE,
    IMAGE_RAW,
    INSTRUCTION,
    LATCHED,
    OBSERVATION,
    PLAN,
    PLAN_ATTENTION,
    PLANS,
    RECORDS,
    SENSOR,
    STEP,
    VIEW_IMAGE,
    VIEW_MARKERS,
    VIEW_SUBGOALS,
)

WHITE = ColorRGBA(r=0.9, g=0.9, b=0.9, a=0.6)
ORANGE = ColorRGBA(r=1.0, g=0.67, b=0.0, a=1.0)


@dataclass(frozen=True)
class ViewParameters:
    """Parameters of the view node."""

    rate: float = parameter(5.0, "images a second, Hz", minimum=0.1, maximum=30.0)
    tile: int = parameter(240, "pixels a side of each image", minimum=48, maximum=1024)
    path_length: int = parameter(1000, "poses kept in the executed path", minimum=1)
    record: str = parameter(
        "", "folder for a video and a subgoal strip of each episode; empty: none"
    )
    record_every: int = parameter(2, "control steps an image of the video", minimum=1)
    record_rate: float = parameter(
        12.0, "images a second of the video, Hz", minimum=1.0, maximum=120.0
    )


class ViewNode(Node):
    """Keeps the newest messages and draws them at its own rate, on the steady clock."""

    def __init__(self, **options: Any) -> None:
        super().__init__("view", **options)
        self._settings = settings = declare(self, ViewParameters)
        self._camera: np.ndarray | None = None  # image_raw, while there is one
        self._now: np.ndarray | None = None
        self._start: np.ndarray | None = None
        self._goal: np.ndarray | None = None
        self._plan = PicturedPlan("")
        self._attention: list[float] = []  # to a plan made backwards
        self._words = ""  # what the agent is told to do
        self._pursued: int | None = None
        self._news = False
        self._path = PathMessage()
        self._path.header.frame_id = BASE_FRAME
        self._planned_for = ""  # name of the episode that the plan is for
        self._filmed, self._filmed_steps = "", 0  # episode in the video, and its steps so far
        self._to_film: dict[str, int] = {}  # judged episodes: how many steps they had
        self._video = (
            EpisodeVideo(Path(settings.record), settings.record_rate) if settings.record else None
        )
        self.create_subscription(Image, IMAGE_RAW, self._image_arrived, SENSOR)
        self.create_subscription(Observation, OBSERVATION, self._observed, LATCHED)
        self.create_subscription(Image, GOAL_IMAGE, self._goal_arrived, LATCHED)
        self._pictures = PlanPictures(self, self._planned)
        self.create_subscription(SubgoalPlan, PLAN, self._pictures.planned, PLANS)
        self.create_subscription(Float32MultiArray, PLAN_ATTENTION, self._attended, LATCHED)
        self.create_subscription(String, INSTRUCTION, self._told, LATCHED)
        self.create_subscription(StepInfo, STEP, self._stepped, RECORDS)
        self.create_subscription(ArmState, ARM_STATE, self._moved, RECORDS)
        self.create_subscription(EpisodeStatus, EPISODE, self._episode_changed, LATCHED)
        self._image = self.create_publisher(Image, VIEW_IMAGE, LATCHED)
        self._strip = self.create_publisher(Image, VIEW_SUBGOALS, LATCHED)
        self._markers = self.create_publisher(MarkerArray, VIEW_MARKERS, LATCHED)
        self._paths = self.create_publisher(PathMessage, ARM_PATH, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / settings.rate, self._draw, clock=steady)

    def stop(self) -> None:
        """Finish the video."""
        if self._video is not None:
            self._video.close(timeout=2.0)
            self._video = None

    # What arrives.

    def _image_arrived(self, message: Image) -> None:
        self._camera = self._read(message)
        self._news = True

    def _observed(self, message: Observation) -> None:
        if message.images:
            self._now = self._read(message.images[0])
            self._news = True

    def _goal_arrived(self, message: Image) -> None:
        self._goal = self._read(message)
        self._news = True

    def _planned(self, plan: PicturedPlan) -> None:
        name = _name(plan.episode_id)
        first = name != self._planned_for or not plan.backward
        self._start, self._plan = self._now, plan
        if not plan.backward:
            self._pursued, self._attention = None, []
        self._planned_for = name
        self._news = True
        if self._video is not None and first:
            self._video.save_strip(name, self._draw_strip())

    def _attended(self, message: Float32MultiArray) -> None:
        self._attention = list(message.data)
        self._news = True

    def _told(self, message: String) -> None:
        self._words = message.data
        self._news = True

    def _stepped(self, message: StepInfo) -> None:
        self._pursued = message.subgoal_index
        self._news = True
        if self._video is not None:
            self._film(message)

    def _film(self, message: StepInfo) -> None:
        # Topics overtake each other: a step's own name says which video it belongs to.
        name = _name(message.episode_id)
        if name != self._filmed:
            self._filmed = name
            self._filmed_steps = 0
            self._video.begin_named(name)
        # A step whose command the arm refused comes again with the same number.
        repeated = message.step < self._filmed_steps
        self._filmed_steps = message.step + 1
        if not repeated and message.step % self._settings.record_every == 0:
            self._video.add(self._draw_now())
        if self._to_film.get(name) == self._filmed_steps:
            self._end_film()

    def _end_film(self) -> None:
        self._to_film.pop(self._filmed, None)
        self._filmed = ""
        self._video.end()

    def _moved(self, message: ArmState) -> None:
        poses = self._path.poses
        poses.append(PoseStamped(header=message.header, pose=message.pose))
        del poses[: -self._settings.path_length]
        self._path.header.stamp = message.header.stamp
        self._news = True

    def _episode_changed(self, message: EpisodeStatus) -> None:
        name = _name(message.episode_id)
        if message.state == EpisodeStatus.RESETTING:
            self._path.poses = []
            if self._planned_for != name:
                self._start, self._plan, self._pursued = None, PicturedPlan(""), None
                self._attention = []
        if message.state == EpisodeStatus.JUDGED and self._video is not None:
            self._to_film[name] = message.steps
            if (self._filmed, self._filmed_steps) == (name, message.steps):
                self._end_film()
        if message.state == EpisodeStatus.FAILED and self._filmed == name and self._filmed:
            self._end_film()
        self._news = True

    def _read(self, message: Image) -> np.ndarray | None:
        try:
            return image_to_array(message)
        except InputError as error:
            self.get_logger().error(f"not shown: {error}", throttle_duration_sec=1.0)
            return None

    # What is drawn.

    def _draw(self) -> None:
        if not self._news:
            return
        self._news = False
        stamp = self.get_clock().now().to_msg()
        # Not in videos, whose images have one size.
        shown = self._draw_now()
        shown = text_below(shown, self._words) if self._words else shown
        self._image.publish(array_to_image(shown, stamp, CAMERA_FRAME))
        self._strip.publish(array_to_image(self._draw_strip(), stamp, CAMERA_FRAME))
        self._markers.publish(self._draw_markers(stamp))
        self._paths.publish(self._path)

    def _draw_now(self) -> np.ndarray:
        index, subgoals = self._pursued, self._plan.subgoals
        target, goal, caption = self._goal, self._goal, "goal itself"
        if self._plan.backward:
            goal = self._plan.goal
            target, caption = (subgoals[0], "near") if subgoals else (goal, "goal")
        elif index is not None and index < len(subgoals):
            target, caption = subgoals[index], f"subgoal {index + 1} of {len(subgoals)}"
        now = self._now if self._camera is None else self._camera
        return side_by_side(now, target, goal, caption, self._settings.tile)

    def _draw_strip(self) -> np.ndarray:
        plan = self._plan
        if plan.backward:
            return backward_strip(self._start, plan.subgoals, plan.goal, self._attention)
        return strip(self._start, plan.subgoals, self._goal, self._pursued)

    def _draw_markers(self, stamp) -> MarkerArray:
        markers = [self._box(stamp)]
        count = len(self._plan.subgoals)
        for number in range(count + 1):
            name = "goal" if number == count else str(number + 1)
            # Of a plan made backwards the policy gets all latents, and none is pursued alone.
            pursued = number == self._pursued and not self._plan.backward
            markers.append(self._number(stamp, number, name, pursued))
        # What an earlier, longer plan left.
        for number in range(count + 1, 64):
            markers.append(Marker(ns="subgoals", id=number, action=Marker.DELETE))
            markers[-1].header.frame_id = BASE_FRAME
        if self._path.poses:
            tool = self._marker(stamp, "tool", 0, Marker.SPHERE, ORANGE, 0.02)
            tool.pose = self._path.poses[-1].pose
            markers.append(tool)
        return MarkerArray(markers=markers)

    def _box(self, stamp) -> Marker:
        """Edges of the box that the tool may move in."""
        box = self._marker(stamp, "workspace", 0, Marker.LINE_LIST, WHITE, 0.002)
        corners = [Point(x=x, y=y, z=z) for x, y, z in Workspace().corners().tolist()]
        for first in range(8):
            for axis in (1, 2, 4):
                if not first & axis:
                    box.points += [corners[first], corners[first | axis]]
        return box

    def _number(self, stamp, number: int, name: str, pursued: bool) -> Marker:
        """One of the row of numbers over the table, as the subgoals are pursued."""
        color = ORANGE if pursued else WHITE
        text = self._marker(stamp, "subgoals", number, Marker.TEXT_VIEW_FACING, color, 0.04)
        text.text = name
        text.pose.position.x = Workspace().upper[0]
        text.pose.position.y = 0.25 - 0.06 * number
        text.pose.position.z = 0.05
        return text

    @staticmethod
    def _marker(stamp, space: str, number: int, kind: int, color, size: float) -> Marker:
        marker = Marker(ns=space, id=number, type=kind, action=Marker.ADD, color=color)
        marker.header.stamp = stamp
        marker.header.frame_id = BASE_FRAME
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = size
        return marker


def _name(episode_id: str) -> str:
    """The last part of an episode's identity, which names its files."""
    return episode_id.rpartition("/")[2] or "unnamed"


def main() -> int:
    """Entry point."""
    return run(ViewNode)
