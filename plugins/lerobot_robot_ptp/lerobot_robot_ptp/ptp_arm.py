# SPDX-License-Identifier: Apache-2.0
"""The robot that LeRobot's commands see."""

from __future__ import annotations

from typing import Any

from lerobot.robots.robot import Robot
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError

from lerobot_robot_ptp.arm_link import ActionUnits, ArmLink
from lerobot_robot_ptp.config_ptp_arm import PtpArmConfig

# In the order of `arm_link.ACTION`. lerobot-rollout 0.6.1 gives an arm only .vel and .pos.
COMMANDED = ("dx.vel", "dy.vel", "dz.vel", "dyaw.vel", "gripper.pos")
FIRST = 30.0  # s for the first image and joint state


class PtpArm(Robot):
    """An arm of a running stack: images and joint positions in, actions out.

    Actions are COMMANDED, each in [-1, 1]. The arm moves behind the safety filter of its driver,
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
            **{f"{joint}.pos": float for joint in self.config.joints},
            **dict.fromkeys(self.config.image_topics, shape),
        }

    @property
    def action_features(self) -> dict[str, type]:
        """Type of each part of an action."""
        return dict.fromkeys(COMMANDED, float)

    @property
    def is_connected(self) -> bool:
        """Whether the topics are there."""
        return self._link is not None

    @property
    def is_calibrated(self) -> bool:
        """The driver's business: always."""
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Wait for images and joints. TimeoutError names what does not come."""
        if self._link is not None:
            raise DeviceAlreadyConnectedError(f"{self} is connected")
        config = self.config
        units = ActionUnits(config.translation, config.rotation, config.rate)
        link = ArmLink(config.image_topics, config.joints, units, config.patience, config.domain)
        try:
            link.wait(FIRST)
            self._check(link)
        except Exception:
            link.close()
            raise
        self._link = link

    def _check(self, link: ArmLink) -> None:
        for camera, image in link.images().items():
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
        """The newest images and joint positions. TimeoutError for what is too old."""
        link = self._connected()
        state = {f"{joint}.pos": value for joint, value in link.positions().items()}
        return {**state, **link.images()}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Send an action; returns it as it was sent.

        Raises ValueError for joint positions, which LeRobot sends to bring an arm back to where it
        began: then the arm stays where it is.
        """
        link = self._connected()
        if missing := [name for name in COMMANDED if name not in action]:
            raise ValueError(
                f"an action of this arm is {', '.join(COMMANDED)}; {missing[0]} is missing: "
                "nothing is sent. --return_to_initial_position=false switches the way back to "
                "the start off"
            )
        sent = link.send([action[name] for name in COMMANDED])
        return dict(zip(COMMANDED, sent.tolist()))

    def disconnect(self) -> None:
        """Let go of the arm."""
        link, self._link = self._connected(), None
        link.close()

    def _connected(self) -> ArmLink:
        if self._link is None:
            raise DeviceNotConnectedError(f"{self} is not connected: call connect()")
        return self._link
