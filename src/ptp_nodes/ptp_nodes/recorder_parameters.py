# SPDX-License-Identifier: Apache-2.0
"""What the recorder node can be told, and what it records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ptp_interfaces.msg import (
    ArmState,
    EpisodeStatus,
    Latent,
    Observation,
    StepInfo,
    SubgoalPlan,
)
from sensor_msgs.msg import Image

from ptp_robot.action import ActionScale
from ptp_ros import topics
from ptp_ros.lifecycle import ManagedParameters
from ptp_ros.parameters import parameter

SCALE = ActionScale()
BACKLOG = 100  # messages of a latched topic that may wait for this node

# In the order in which an episode begins.
RECORDED = (
    (Image, topics.GOAL_IMAGE, topics.LATCHED),
    (SubgoalPlan, topics.PLAN, topics.LATCHED),
    (EpisodeStatus, topics.EPISODE, topics.LATCHED),
    (Observation, topics.OBSERVATION, topics.STREAM),
    (Latent, topics.LATENT, topics.STREAM),
    (ArmState, topics.ARM_STATE, topics.KEPT),
    (StepInfo, topics.STEP, topics.KEPT),
)


@dataclass(frozen=True)
class RecorderParameters(ManagedParameters):
    """Parameters of the recorder node."""

    folder: str = parameter("", "session folder: the episodes and their index")
    image: bool = parameter(True, "record image_raw, the picture for people, too")
    min_free: int = parameter(500, "MB that must stay free on the disk", minimum=0)
    queue: int = parameter(
        64, "MB that may wait for a slow disk; then image_raw is dropped first", minimum=1
    )
    patience: float = parameter(
        10.0, "s that the last latent and arm state of an episode may take", minimum=0.0
    )
    observation_size: int = parameter(
        48, "pixels a side of a goal image: those of the observations", minimum=4
    )
    translation: float = parameter(
        SCALE.translation, "m that an action of 1 asks for", minimum=1e-4, maximum=0.1
    )
    rotation: float = parameter(
        SCALE.rotation, "rad that an action of 1 asks for", minimum=1e-4, maximum=0.5
    )


def versions() -> dict[str, str]:
    """What a session was recorded with."""
    try:
        own = version("ptp_core")
    except PackageNotFoundError:  # run from the source tree
        own = "unknown"
    return {"ptp": own, "ros_distro": os.environ.get("ROS_DISTRO", "unknown")}
