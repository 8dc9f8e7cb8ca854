# SPDX-License-Identifier: Apache-2.0
"""What an agent that plans for itself shows: instruction, newest plan, attention to its subgoals.

An agent may plan at every control step. At most two plans a second are published.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import SubgoalPlan
from std_msgs.msg import Float32MultiArray, Header, String

from ptp_core.agents.agent import Agent, Decision, Goal, LanguageGoal
from ptp_core.errors import InputError
from ptp_ros.agent_messages import plan_message
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.topics import INSTRUCTION, LATCHED, PLAN, PLAN_ATTENTION, PLANS

PERIOD = 0.5  # s between plans


class AgentDisplay:
    """Publishes for people and for recordings; life-cycle publishers, as all of a policy's."""

    def __init__(self, node: ManagedNode) -> None:
        self._plans = node.create_lifecycle_publisher(SubgoalPlan, PLAN, PLANS)
        self._attention = node.create_lifecycle_publisher(
            Float32MultiArray, PLAN_ATTENTION, LATCHED
        )
        self._words = node.create_lifecycle_publisher(String, INSTRUCTION, LATCHED)
        self._sent, self._last = 0, -math.inf  # plans so far, and when the newest was

    def told(self, goal: Goal) -> None:
        """Publish what the agent is told, and show its next plan at once."""
        self._last = -math.inf
        self._words.publish(String(data=goal.text if isinstance(goal, LanguageGoal) else ""))

    def show(
        self,
        agent: Agent,
        decision: Decision,
        request: ReachGoal.Goal,
        header: Header,
        weights_version: str,
    ) -> None:
        """Publish the decision's plan, where it has one and the last was long enough ago."""
        plan, latent = decision.plan, agent.spec.latent
        if plan is None or latent is None or time.monotonic() - self._last < PERIOD:
            return
        self._last = time.monotonic()
        self._sent += 1
        try:
            goal = agent.goal_latent
        except InputError:
            goal = None  # it plans ahead without knowing a latent of the goal
        message = plan_message(plan, latent, start=decision.latent, goal=goal, seed=request.seed)
        message.header, message.plan_id = header, self._sent
        message.episode_id = request.episode_id
        message.weights_version = weights_version
        self._plans.publish(message)
        if shares := attention_of(decision.info):
            self._attention.publish(Float32MultiArray(data=shares))


def attention_of(info: Mapping[str, float]) -> list[float]:
    """The shares "attention_0", "attention_1", ... of a decision's info; none: empty."""
    found: list[float] = []
    while (name := f"attention_{len(found)}") in info:
        found.append(float(info[name]))
    return found
