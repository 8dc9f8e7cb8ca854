# SPDX-License-Identifier: Apache-2.0
"""Take a goal picture from the running graph."""

from __future__ import annotations

import time
from collections.abc import Callable

from ptp_core.errors import InputError
from ptp_nodes.cameras.health import fault_of
from ptp_nodes.cameras.looker import Looker, nanoseconds
from ptp_nodes.goals import Goal
from ptp_ros.images import image_to_array

PATIENCE = 5.0  # s for a picture
OLDEST = 1.0  # s that a picture may be old
COMPANION = 1.0  # s to wait for the large picture


def capture_goal(
    looker: Looker,
    note: str = "",
    ready: Callable[[], None] = lambda: None,
    patience: float = PATIENCE,
) -> Goal:
    """The next observation as a goal, after ``ready()`` returned: the person has brought it about.

    Raises InputError where no new picture comes, and for one that is old, black or over-exposed.
    """
    nothing = "no new observation came"
    looker.until(lambda: looker.observation is not None, patience, nothing)
    ready()
    before = looker.observation.seq
    looker.until(lambda: looker.observation.seq != before, patience, nothing)
    observation = looker.observation
    age = looker.age(observation)
    if abs(age) > OLDEST:
        raise InputError(
            f"the picture's stamp is {age:.1f} s old: is the camera behind, are the clocks of two "
            "machines apart, or does the stack run on simulated time (mode:=lock_step)?"
        )
    if not observation.images:
        raise InputError("the observation has no image: is this the topic of a camera?")
    image = image_to_array(observation.images[0])
    if (fault := fault_of(image)) is not None:
        raise InputError(f"not taken: {fault}")
    looker.wait(
        lambda: any(nanoseconds(p) >= nanoseconds(observation) for p in list(looker.pictures)),
        COMPANION,
    )
    facts = {
        "note": note,
        "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "observation": observation.seq,
    }
    if (arm := looker.arm) is not None:
        facts["joints"] = dict(zip(arm.joint_names, map(float, arm.joint_positions)))
        facts["gripper"] = float(arm.gripper)
    return Goal(image, looker.picture_at(observation), facts)
