# SPDX-License-Identifier: Apache-2.0
"""The settings of ``--teleop.type=ptp_teleop``."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.teleoperators.config import TeleoperatorConfig


@TeleoperatorConfig.register_subclass("ptp_teleop")
@dataclass(kw_only=True)
class PtpTeleopConfig(TeleoperatorConfig):
    """A person at a device of a running stack; see the README."""

    rate: float = 10.0  # commands a second, Hz: that of the stack
    translation: float = 0.05  # m that an action of 1 asks for
    rotation: float = 0.0872664626  # rad, 5 degrees
    patience: float = 0.3  # s after which a command counts as let go
    domain: int | None = None  # of ROS; None: that of ROS_DOMAIN_ID
