# SPDX-License-Identifier: Apache-2.0
"""Base of the nodes with the simulated table: parameters, scenes, images, success checks."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from ptp_interfaces.msg import ErrorCode, Goal, Observation, TableState
from ptp_interfaces.srv import JudgeEpisode, ResetScene
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ptp_core.agents.agent import ImageGoal
from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import InputError, PtpError, quoted
from ptp_ros.agent_messages import goal_message, observation_message
from ptp_ros.image_messages import array_to_image
from ptp_ros.parameters import declare, parameter
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.standard_publishers import ObservationParts
from ptp_ros.streams import HistoryPublisher, Streams
from ptp_ros.topics import (
    BASE_FRAME,
    CAMERA_FRAME,
    IMAGE_RAW,
    JUDGE_EPISODE,
    LATCHED,
    OBSERVATION,
    RESET_SCENE,
    SENSOR,
    STREAM,
    TABLE_STATE,
)
from ptp_sim.env import PROTOCOLS, TableEnv
from ptp_sim.goal_images import PlanFailed
from ptp_sim.long_env import LongTableEnv
from ptp_sim.long_tasks import ALL_TASKS
from ptp_sim.stepping import MODES, CommandGate, first_number

TABLES = {"table": TableEnv, "long_table": LongTableEnv}


@dataclass(frozen=True)
class TableParameters:
    """Parameters of every node with the simulated table."""

    rate: float = parameter(10.0, "images a second in real time, Hz", minimum=0.1, maximum=60.0)
    grasp: str = parameter(
        "assisted", "how the gripper takes the block", choices=("assisted", "physical")
    )
    table: str = parameter(
        "table",
        "table, or long_table: the one of the long tasks, which words tell apart",
        choices=tuple(TABLES),
    )
    image_size: int = parameter(
        240, "pixels a side of image_raw, the image for people", minimum=48, maximum=1024
    )
    image_every: int = parameter(
        1, "draw image_raw at every n-th image, while somebody looks; 0: never", minimum=0
    )
    truth: bool = parameter(
        False, "publish where everything is, which a robot cannot know, on sim/table_state"
    )


@dataclass(frozen=True)
class SimBridgeParameters(TableParameters):
    """Parameters of the sim_bridge node."""

    mode: str = parameter(
        "real_time",
        "real_time: a image every 1/rate s; lock_step: the next image when the command that "
        "answers the last one has been carried out, on simulated time",
        choices=MODES,
    )
    patience: int = parameter(
        4, "images by which an answer may be late in real time", minimum=0, maximum=100
    )
    age_limit: float = parameter(
        0.3,
        "age at which an observation is too old to be answered, s; in lock-step on a machine "
        "whose answers take longer it follows them, up to 1 s",
        minimum=0.02,
        maximum=10.0,
    )
    dead_man_patience: float = parameter(
        0.3, "how long a person counts as holding the arm after the last command, s", minimum=0.05
    )


@dataclass(frozen=True)
class JointBridgeParameters(TableParameters):
    """Parameters of the joint_bridge node."""

    speed: float = parameter(
        0.0,
        "simulated seconds a second; 0: 1/24 s a image, as in a step of sim_bridge, so that a "
        "command moves the arm as far as there",
        minimum=0.0,
        maximum=10.0,
    )
    joint_rate: float = parameter(100.0, "joint states a second, Hz", minimum=10.0, maximum=500.0)
    leap: float = parameter(
        0.5,
        "a joint command that is farther than this from where the arm is moves nothing, rad",
        minimum=0.01,
    )


FINGER_JOINT = "gripper_l_finger_joint"


class TableNode(Node):
    """Owns the table. Subclasses say how its arm is moved and when an image is taken.

    A subclass calls `_publish_observation` for each image and may override `_begin`, which is
    called after each reset and before its first image.
    """

    def __init__(self, name: str, parameters: type, **options: Any) -> None:
        super().__init__(name, **options)
        self._settings = settings = declare(self, parameters)
        self._gate = CommandGate(
            getattr(settings, "mode", "real_time"),
            getattr(settings, "patience", 0),
            before=first_number(),
            age=getattr(settings, "age_limit", 0.3),
        )
        self._env = TABLES[settings.table](grasp=settings.grasp)
        channels = self._env.dataset_attributes().get("proprioception_channels", ())
        self._felt = [channel["name"] for channel in channels]  # names of its dimensions
        self._lock = threading.Lock()  # on the table
        self._steps, self._first_success = 0, -1
        self._info: dict = {}
        self._task, self._scene = "", TableState()
        self._scene.header.frame_id = BASE_FRAME
        self._image_due = False
        self._observations = HistoryPublisher(self, Observation, OBSERVATION, STREAM)
        self._parts = ObservationParts(self, (CAMERA,), proprioception=bool(self._felt))
        self._images = self.create_publisher(Image, IMAGE_RAW, SENSOR)
        self._truth = self.create_publisher(TableState, TABLE_STATE, LATCHED)
        self._streams = Streams(self)
        self.create_service(ResetScene, RESET_SCENE, self._alone(self._reset))
        self.create_service(JudgeEpisode, JUDGE_EPISODE, self._alone(self._judge))

    def start(self) -> None:
        """Take commands."""
        self._streams.start()

    def stop(self) -> None:
        """Take no more commands."""
        self._streams.stop()

    def destroy_node(self) -> None:
        """Free the simulator too."""
        super().destroy_node()
        self._env.close()

    def _alone(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """The callback, while no other has the table."""

        @functools.wraps(callback)
        def alone(*arguments: Any) -> Any:
            with self._lock:
                return callback(*arguments)

        return alone

    def _begin(self) -> None:
        """A scene was set up; its first image is yet to come."""

    def _control_rate(self) -> float:
        """Images a second; 0: the next comes when the last is answered."""
        return self._settings.rate

    def _stamp(self) -> Time:
        return self.get_clock().now().to_msg()

    def _reset(self, request: ResetScene.Request, response: ResetScene.Response):
        options = {"task": request.task, "protocol": request.protocol}
        try:
            if request.seed >= 2**32:
                raise InputError(f"seed {request.seed} is too large: use one below 2^32")
            if request.task not in ALL_TASKS:
                known = ", ".join(ALL_TASKS)
                raise InputError(f"no goal of task {quoted(request.task)}: use {known}")
            if request.protocol not in PROTOCOLS:
                known = ", ".join(PROTOCOLS)
                raise InputError(f"unknown protocol {quoted(request.protocol)}: use {known}")
            image, self._info = self._env.reset(seed=request.seed, options=options)
        except (PtpError, ValueError) as error:  # the scene is as it was
            self.get_logger().error(f"reset refused: {error}", throttle_duration_sec=1.0)
            return fill_error(response, RequestError(ErrorCode.BAD_REQUEST, str(error)))
        except (PlanFailed, OSError, RuntimeError) as error:
            self.get_logger().error(f"reset failed\n{traceback.format_exc()}")
            self._task = ""  # the scene on the table is unknown
            self._gate.close()
            return fill_error(response, RequestError(ErrorCode.UNAVAILABLE, str(error)))
        self._task, self._steps, self._first_success = request.task, 0, -1
        self._scene.task, self._scene.protocol = request.task, request.protocol
        self._scene.seed = request.seed
        self._scene.resets += 1
        response.observation_seq = self._gate.reset(time.monotonic())
        response.control_rate = self._control_rate()
        response.goal, response.instruction = self._goal(), self._info.get("instruction", "")
        self._begin()
        self._publish(image)
        self._publish_image()
        self.get_logger().info(
            f"task {request.task} ({request.protocol}), seed {request.seed}: "
            f"observation {response.observation_seq}"
        )
        return response

    def _goal(self) -> Goal:
        """The goal of the scene as images, by camera."""
        shown = self._info.get("goal_image")
        if shown is None:
            return Goal()
        images = shown if isinstance(shown, dict) else {CAMERA: shown}
        header = Header(stamp=self._stamp(), frame_id=CAMERA_FRAME)
        return goal_message(ImageGoal(images), header=header)

    def _judge(self, request: JudgeEpisode.Request, response: JudgeEpisode.Response):
        newest = self._gate.observation_seq
        if not self._task:
            error = RequestError(ErrorCode.BAD_REQUEST, "no episode to judge: reset the scene")
            return fill_error(response, error)
        if newest < request.observation_seq:
            error = RequestError(
                ErrorCode.BAD_REQUEST,
                f"observation {request.observation_seq} is yet to come, {newest} is the newest: "
                "wait for the arm state that shows it",
            )
            return fill_error(response, error)
        response.success = bool(self._info["success"])
        response.steps = self._steps
        response.first_success = self._first_success
        response.observation_seq = newest
        response.check_names = list(self._info["parts"])
        response.check_values = [bool(value) for value in self._info["parts"].values()]
        return response

    def _count_step(self, info: dict) -> None:
        """A control step led to what the environment says in ``info``."""
        self._info = info
        self._steps += 1
        if self._first_success < 0 and info["success"]:
            self._first_success = self._steps

    def _publish(self, pixels: np.ndarray) -> None:
        """Publish the image that the gate has just counted."""
        self._publish_observation(pixels, self._stamp())

    def _publish_observation(self, pixels: np.ndarray, stamp: Time) -> None:
        felt = self._info.get("proprioception")
        observation = observation_message(
            self._gate.observation_seq,
            Header(stamp=stamp, frame_id=CAMERA_FRAME),
            pixels if isinstance(pixels, dict) else {CAMERA: pixels},
            proprioception=None if felt is None else (self._felt, felt),
        )
        self._observations.publish(observation)
        self._parts.publish(observation)
        if self._settings.truth:
            self._publish_truth(observation)
        every = self._settings.image_every
        self._image_due = bool(every) and self._gate.observation_seq % every == 0

    def _publish_truth(self, observation: Observation) -> None:
        self._scene.header.stamp = observation.header.stamp
        self._scene.observation_seq = observation.seq
        for name, value in vars(self._env.world.state()).items():
            setattr(self._scene, name, value)
        self._truth.publish(self._scene)

    def _publish_image(self) -> None:
        """Publish the large image for people, rendered when the node is otherwise idle."""
        if self._image_due and self._images.get_subscription_count():
            self._image_due = False
            image = self._env.world.camera.render(self._settings.image_size)
            self._images.publish(array_to_image(image, self._stamp(), CAMERA_FRAME))
