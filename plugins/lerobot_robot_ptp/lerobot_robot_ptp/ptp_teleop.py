# SPDX-License-Identifier: Apache-2.0
"""The teleoperator that lerobot-record sees: a person at a device of the stack."""

from __future__ import annotations

from typing import Any

from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError

from lerobot_robot_ptp.action_units import FEATURES, ActionUnits
from lerobot_robot_ptp.config_ptp_teleop import PtpTeleopConfig
from lerobot_robot_ptp.person_link import PersonLink

WAIT = 30.0  # s for the stack's device


class PtpTeleop(Teleoperator):
    """What a person commands with the stack's keyboard, gamepad or SpaceMouse.

    The stack carries the commands out itself: `PtpArm` must send nothing (``listen_only``).
    """

    config_class = PtpTeleopConfig
    name = "ptp_teleop"

    def __init__(self, config: PtpTeleopConfig) -> None:
        super().__init__(config)
        self.config = config
        self._link: PersonLink | None = None

    @property
    def action_features(self) -> dict[str, type]:
        """Type of each part of an action: those of `PtpArm`."""
        return dict.fromkeys(FEATURES, float)

    @property
    def feedback_features(self) -> dict[str, type]:
        """The devices give no feedback."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether the topics are there."""
        return self._link is not None

    @property
    def is_calibrated(self) -> bool:
        """The stack's business: always."""
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Wait for the stack's device. ConnectionError where there is none."""
        if self._link is not None:
            raise DeviceAlreadyConnectedError(f"{self} is connected")
        config = self.config
        units = ActionUnits(config.translation, config.rotation, config.rate)
        link = PersonLink(units, config.patience, config.domain)
        try:
            link.wait(WAIT)
        except Exception:
            link.close()
            raise
        self._link = link

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_action(self) -> dict[str, float]:
        """The newest command, each part in [-1, 1]; one that holds still where there is none."""
        return dict(zip(FEATURES, self._connected().action().tolist()))

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Nothing to do."""

    def disconnect(self) -> None:
        """Listen no longer."""
        link, self._link = self._connected(), None
        link.close()

    def _connected(self) -> PersonLink:
        if self._link is None:
            raise DeviceNotConnectedError(f"{self} is not connected: call connect()")
        return self._link
