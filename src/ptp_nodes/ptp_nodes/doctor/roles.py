# SPDX-License-Identifier: Apache-2.0
"""What each of our nodes is there for, and what it writes: where the checks get their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_ros import topics


@dataclass(frozen=True)
class Role:
    """A node's part in the graph."""

    absent: str  # what does not happen without it
    writes: tuple[str, ...]  # relative names of topics that it always has


ROLES = {
    "sim_bridge": Role(
        "There is no table: nothing is seen and nothing moves",
        (topics.OBSERVATION, topics.IMAGE_RAW, topics.ARM_STATE, topics.JOINT_STATES),
    ),
    "joint_bridge": Role(
        "There is no simulated arm: nothing is seen and nothing moves",
        (topics.OBSERVATION, topics.IMAGE_RAW, topics.JOINT_STATES),
    ),
    "camera": Role("Nothing is seen", (topics.OBSERVATION, topics.IMAGE_RAW)),
    "arm_driver": Role("Nothing moves", (topics.ARM_STATE, topics.DRIVER_STATE)),
    "operator": Role("Nobody sets scenes up or judges them", (topics.OPERATOR_PROMPT,)),
    "encoder": Role("Pictures do not become latents: the policy is blind", (topics.LATENT,)),
    "planner": Role("Nobody finds subgoals, practice waits", (topics.PLAN,)),
    "policy": Role("Nobody follows the plan", (topics.POLICY_COMMAND, topics.STEP)),
    "practice": Role("No episode begins", (topics.EPISODE, topics.GOAL_IMAGE)),
    "recorder": Role("Nothing is kept", (topics.RECORDER_STATUS,)),
    "learner": Role("The policy does not get better", (topics.POLICY_UPDATE,)),
    "teleop": Role("A person cannot move the arm", (topics.TELEOP_COMMAND,)),
    "view": Role(
        "RViz has no pictures, markers or path", (topics.VIEW_IMAGE, topics.VIEW_MARKERS)
    ),
}

# Topics that mean nothing unless somebody reads them, and what does not happen then.
NEED_A_READER = {
    topics.POLICY_COMMAND: "No arm obeys",
    topics.TELEOP_COMMAND: "No arm obeys the person",
    topics.OBSERVATION: "Nobody encodes what is seen",
}
# Topics that nodes read when somebody writes them; else they do without.
MAY_LACK_A_WRITER = (
    topics.ARM_PREFLIGHT,
    topics.POLICY_UPDATE,
    topics.LEARNER_DUE,
    topics.ALIVE,
    topics.IMAGE_RAW,
    topics.DRIVER_STATE,
    topics.GOAL_IMAGE,
    topics.RECORDER_STATUS,
    topics.SCRIPT_COMMAND,
    topics.TELEOP_COMMAND,
)
# Pictures and what is made of each of them, by whom: (source, product, node).
CHAIN = (
    (topics.OBSERVATION, topics.LATENT, "encoder"),
    (topics.LATENT, topics.STEP, "policy"),
)


def resolve(node: str, name: str) -> str:
    """Full name of a relative topic of the node with this full name."""
    return f"{node.rpartition('/')[0]}/{name}"


def short(node: str) -> str:
    """A node's name without its namespace."""
    return node.rpartition("/")[2]
