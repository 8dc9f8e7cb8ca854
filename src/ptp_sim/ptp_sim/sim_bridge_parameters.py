# SPDX-License-Identifier: Apache-2.0
"""What the nodes with the simulated table can be told."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_ros.parameters import parameter
from ptp_sim.stepping import MODES


@dataclass(frozen=True)
class TableParameters:
    """Parameters of every node with the simulated table."""

    rate: float = parameter(10.0, "pictures a second in real time, Hz", minimum=0.1, maximum=60.0)
    grasp: str = parameter(
        "assisted", "how the gripper takes the block", choices=("assisted", "physical")
    )
    image_size: int = parameter(
        240, "pixels a side of image_raw, the picture for people", minimum=48, maximum=1024
    )
    image_every: int = parameter(
        1, "draw image_raw at every n-th picture, while somebody looks; 0: never", minimum=0
    )
    truth: bool = parameter(
        False, "publish where everything is, which a robot cannot know, on sim/table_state"
    )


@dataclass(frozen=True)
class SimBridgeParameters(TableParameters):
    """Parameters of the sim_bridge node."""

    mode: str = parameter(
        "real_time",
        "real_time: a picture every 1/rate s; lock_step: the next picture when the command that "
        "answers the last one has been carried out, on simulated time",
        choices=MODES,
    )
    patience: int = parameter(
        4, "pictures by which an answer may be late in real time", minimum=0, maximum=100
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
        "simulated seconds a second; 0: 1/24 s a picture, as in a step of sim_bridge, so that a "
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
