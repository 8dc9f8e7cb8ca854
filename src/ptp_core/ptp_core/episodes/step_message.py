# SPDX-License-Identifier: Apache-2.0
"""Convert transitions to the fields of StepRecord.msg, for bags and for the graph."""

from __future__ import annotations

from typing import Any

from ptp_core.episodes.episode import Step
from ptp_core.episodes.latent_fields import latent_lists
from ptp_core.episodes.message_definitions import LATENT_ARRAY, STEP_RECORD, Definitions


def step_fields(episode_id: str, step: Step) -> dict[str, Any]:
    """Every field of StepRecord.msg but header, observation_stamp, command and target."""
    dx, dy, dz, dyaw = (float(value) for value in step.executed)
    return {
        "episode_id": episode_id,
        "step": step.step,
        "observation_seq": step.observation_seq,
        "action_names": list(step.action_names),
        "action": step.action,
        "intervention": step.intervention,
        "executed_dx": dx,
        "executed_dy": dy,
        "executed_dz": dz,
        "executed_dyaw": dyaw,
        "executed_gripper": float(step.executed_gripper),
        "has_target": step.pursued,
        "subgoal_index": step.subgoal_index,
        "subgoal_count": step.subgoal_count,
        "reward": float(step.reward),
        "end_reason": step.end_reason,
    }


def step_message(definitions: Definitions, episode_id: str, step: Step) -> Any:
    """StepRecord of the types in ``definitions``."""
    types = definitions.store.types

    def time(nanoseconds: int) -> Any:
        seconds, rest = divmod(nanoseconds, 10**9)
        return types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)

    frame = step.command.header.frame_id
    return types[STEP_RECORD](
        header=types["std_msgs/msg/Header"](stamp=time(step.stamp), frame_id=frame),
        observation_stamp=time(step.observation_stamp),
        command=step.command,
        target=types[LATENT_ARRAY](encoder_id=step.encoder_id, **latent_lists(step.target)),
        **step_fields(episode_id, step),
    )
