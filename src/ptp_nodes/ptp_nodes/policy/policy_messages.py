# SPDX-License-Identifier: Apache-2.0
"""Conversion of an agent's plans and decisions to messages. Callers add names and times."""

from __future__ import annotations

import math

import numpy as np
from ptp_interfaces.msg import Latent, LatentArray, Observation, StepInfo, SubgoalPlan

from ptp_core.agents.agent import AgentSpec, Decision, LatentSpec
from ptp_core.planners.planner import Plan
from ptp_ros.agent_messages import latent_message


def plan_message(
    plan: Plan, spec: LatentSpec, *, start: np.ndarray, goal: np.ndarray, seed: int
) -> SubgoalPlan:
    """SubgoalPlan from the latent ``start`` to the latent ``goal``, without images."""
    subgoals = plan.codes if spec.kind == "indices" else plan.latents
    return SubgoalPlan(
        start=latent_message(start, spec.encoder_id),
        goal=latent_message(goal, spec.encoder_id),
        count=len(subgoals),
        subgoals=latent_message(subgoals.numpy(), spec.encoder_id),
        cost=plan.cost,
        cost_names=list(plan.costs),
        cost_values=list(plan.costs.values()),
        seconds=plan.seconds,
        seed=seed,
    )


def step_info(spec: AgentSpec, decision: Decision, seen: Latent | Observation) -> StepInfo:
    """StepInfo of a decision on the message ``seen``."""
    latent = spec.latent
    info = StepInfo(
        observation_seq=seen.seq,
        observation_stamp=seen.header.stamp,
        latent=LatentArray() if latent is None else seen.latent,
        subgoal_index=decision.subgoal_index,
        distance=number(decision.distance),
        switched=bool(decision.switched),
        reward=number(decision.reward),
        action_names=list(spec.actions),
        action=decision.action.tolist(),
    )
    if latent is not None:
        info.target = latent_message(decision.target, latent.encoder_id)
    return info


def number(value: float | None) -> float:
    """The value, NaN for none."""
    return math.nan if value is None else float(value)
