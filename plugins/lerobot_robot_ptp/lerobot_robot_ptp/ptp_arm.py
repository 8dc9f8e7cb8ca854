# SPDX-License-Identifier: Apache-2.0
"""The robot that LeRobot's commands see."""

from __future__ import annotations

from typing import Any

import numpy as np
from lerobot.robots.robot import Robot
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError

from lerobot_robot_ptp.action_units import FEATURES, ActionUnits
from lerobot_robot_ptp.arm_link import ArmLink
from lerobot_robot_ptp.config_ptp_arm import PtpArmConfig

WAIT = 30.0  # s for images, state and listeners


class PtpArm(Robot):
    """An arm of a running stack: images and state in, actions out.

    Actions are FEATURES, each in [-1, 1]. The arm moves behind the safety filter of its driver,
    so that what it does may be less than what was asked for.
    """

    config_class = PtpArmConfig
    name = "ptp_arm"

    def __init__(self, config: PtpArmConfig) -> None:
        super().__init__(config)
        self.config = config
        self.cameras = dict.fromkeys(config.image_topics)  # LeRobot counts them
        self._link: ArmLink | None = None

    @property
    def observation_features(self) -> dict[str, Any]:
        """Type or shape of each part of an observation."""
        shape = (self.config.height, self.config.width, 3)
        return {
            **{f"{name}.pos": float for name in self.config.state},
            **dict.fromkeys(self.config.image_topics, shape),
        }

    @property
    def action_features(self) -> dict[str, type]:
        """Type of each part of an action."""
        return dict.fromkeys(FEATURES, float)

    @property
    def is_connected(self) -> bool:
        """Whether the topics are there."""
        return self._link is not None

    @property
    def is_calibrated(self) -> bool:
        """The driver's business: always."""
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Wait for images, state and listeners.

        Raises TimeoutError that names what does not come, ConnectionError where nobody takes
        actions, and ValueError for images of another size.
        """
        if self._link is not None:
            raise DeviceAlreadyConnectedError(f"{self} is connected")
        config = self.config
        units = ActionUnits(config.translation, config.rotation, config.rate)
        link = ArmLink(
            config.image_topics,
            config.state,
            config.state_topic,
            units,
            config.patience,
            config.domain,
        )
        try:
            self._check(link.observation(WAIT)[1])
            if not config.listen_only:
                link.wait_for_listener(WAIT)
        except Exception:
            link.close()
            raise
        self._link = link

    def _check(self, images: dict[str, np.ndarray]) -> None:
        for camera, image in images.items():
            height, width = image.shape[:2]
            if (height, width) != (self.config.height, self.config.width):
                raise ValueError(
                    f"images of {camera} are {height} x {width}: set --robot.height={height} "
                    f"--robot.width={width}"
                )

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_observation(self) -> dict[str, Any]:
        """The newest images and state.

        Waits while there are none, as when the stack sets up a scene: nothing is sent then, and
        the arm holds. TimeoutError names what does not come.
        """
        state, images = self._connected().observation(WAIT)
        return {**{f"{name}.pos": value for name, value in state.items()}, **images}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Send an action, unless ``listen_only``; returns it cut to [-1, 1].

        Raises ValueError for joint positions, which LeRobot sends to bring an arm back to where it
        began: then the arm stays where it is.
        """
        link = self._connected()
        if missing := [name for name in FEATURES if name not in action]:
            raise ValueError(
                f"an action of this arm is {', '.join(FEATURES)}; {missing[0]} is missing: "
                "nothing is sent. --return_to_initial_position=false switches the way back to "
                "the start off"
            )
        values = [action[name] for name in FEATURES]
        sent = link.units.check(values) if self.config.listen_only else link.send(values)
        return dict(zip(FEATURES, sent.tolist()))

    def disconnect(self) -> None:
        """Let go of the arm."""
        link, self._link = self._connected(), None
        link.close()

    def _connected(self) -> ArmLink:
        if self._link is None:
            raise DeviceNotConnectedError(f"{self} is not connected: call connect()")
        return self._link
