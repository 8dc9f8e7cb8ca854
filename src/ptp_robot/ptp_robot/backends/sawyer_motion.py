# SPDX-License-Identifier: Apache-2.0
"""From where the arm should be to what a Sawyer is told: the last limits before the robot.

The arm driver plans within narrower limits. These hold whatever it does.
"""

from __future__ import annotations

import numpy as np

from ptp_robot.backends.sawyer_config import SawyerConfig
from ptp_robot.backends.sawyer_messages import JointLimits

__all__ = ["bounded_target", "bounded_velocity"]


def bounded_velocity(
    dq: np.ndarray, here: np.ndarray, limits: JointLimits, config: SawyerConfig
) -> np.ndarray:
    """Velocity (7,) [rad/s]: dq, at most the speed ratio of each joint's top speed.

    A joint that is measured, here (7,) [rad], at or beyond its limit goes no further.
    """
    fastest = config.speed_ratio * limits.velocity
    velocity = np.clip(dq, -fastest, fastest)
    outward = ((here <= limits.lower) & (velocity < 0.0)) | (
        (here >= limits.upper) & (velocity > 0.0)
    )
    return np.where(outward, 0.0, velocity)


def bounded_target(
    q: np.ndarray,
    last: np.ndarray,
    here: np.ndarray,
    limits: JointLimits,
    config: SawyerConfig,
) -> tuple[np.ndarray, bool]:
    """Target (7,) [rad] towards q, and whether it falls short of it.

    It is a small step from the last target, near the measured arm and within the joints' limits:
    the robot goes to it even if it is the last that it hears.
    """
    target = np.clip(q, last - config.step, last + config.step)
    target = np.clip(target, here - config.leash, here + config.leash)
    target = np.clip(target, limits.lower, limits.upper)
    return target, bool(np.abs(target - q).max() > 1e-9)
