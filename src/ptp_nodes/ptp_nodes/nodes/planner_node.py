# SPDX-License-Identifier: Apache-2.0
"""Node: subgoals that lead to a goal, as an action with feedback that can be canceled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ptp_interfaces.action import PlanSubgoals
from ptp_interfaces.msg import EpisodeStatus, SubgoalPlan

from ptp_core.agents.agent import AgentSpec, LatentGoal
from ptp_core.agents.ptp import planner_of
from ptp_core.agents.registry import AgentOptions, build_agent, method_named
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import PlannerConfig
from ptp_core.config.train_config import planner_settings
from ptp_core.errors import ConfigError
from ptp_core.planners.plan_library import PlanLibrary, PlanLibraryPlanner, StoredPlan
from ptp_core.planners.planner import Plan, PlanFeedback, Planner
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.policy.agent_networks import (
    LiveNetworks,
    PolicyNetworkParameters,
    agent_spec,
    finetuned_policies,
    load_networks,
    practice_setting,
)
from ptp_ros.action_server import RunningGoal, SingleGoalServer
from ptp_ros.agent_messages import plan_message, read_goal, read_latent
from ptp_ros.diagnostics import ERROR, OK, Diagnostics
from ptp_ros.image_messages import array_to_image
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.node_main import run
from ptp_ros.parameters import apply_overrides, declare_overrides, parameter
from ptp_ros.topics import CAMERA_FRAME, LATCHED, PLAN, PLAN_OUTCOME, PLAN_SUBGOALS, PLANS

CHECKPOINT = "checkpoint"  # preset: the settings that the checkpoint was made with


@dataclass(frozen=True)
class PlannerParameters(PolicyNetworkParameters):
    """Parameters of the planner node; ``planner.*`` override single settings of the preset.

    The method says what a plan is made up of, the preset how hard is searched for it.
    """

    preset: str = parameter(
        CHECKPOINT,
        "how hard is searched: paper, fast, descent, best, checkpoint (as its own settings say) "
        "or a training YAML",
    )
    threads: int = parameter(
        2, "threads that share a plan; plans do not depend on their number", minimum=1
    )
    plan_library: str = parameter(
        "", "file of plans and how often they worked, with reuse_plans; empty: none"
    )
    reuse_plans: bool = practice_setting("reuse_plans")
    success_signal: str = practice_setting("success_signal")


class PlannerNode(ManagedNode):
    """Serves `PlanSubgoals` and publishes each plan."""

    parameters_type = PlannerParameters

    def __init__(self, **options: Any) -> None:
        super().__init__("planner", **options)
        self._checkpoint: Checkpoint | None = None
        self._spec: AgentSpec | None = None
        self._planners: dict[str, Planner] = {}
        self._library: PlanLibrary | None = None
        self._policies: FineTunedPolicies | None = None
        self._tried: tuple[str, StoredPlan] | None = None  # episode and its plan, to be judged
        self._plans = 0
        self._last_seconds = 0.0
        self._publisher = self.create_publisher(SubgoalPlan, PLAN, PLANS)
        self.create_subscription(EpisodeStatus, PLAN_OUTCOME, self._episode_ended, LATCHED)
        self._live = LiveNetworks(self)
        self._server = SingleGoalServer(self, PlanSubgoals, PLAN_SUBGOALS, self._plan)
        Diagnostics(self, self._status)

    def declare_more(self) -> None:
        """Declare ``planner.*``, one for each field of PlannerConfig."""
        self._overrides = declare_overrides(self, "planner", PlannerConfig)

    def stop(self) -> None:
        """Cancel the running plan and end its thread."""
        super().stop()
        self._server.stop()
        self._live.stop()

    def _configure(self) -> None:
        self._checkpoint = load_networks(self.parameters)
        self._spec = agent_spec(self._checkpoint)
        self._policies = finetuned_policies(self.parameters, self._checkpoint)
        practised = method_named(self.parameters.method).practised_parts
        self._live.use(self._checkpoint, practised, self._policies)
        self._planners, self._tried = {}, None
        path = self.parameters.plan_library
        self._library = None
        if path and self.parameters.reuse_plans:
            if self._policies is not None:
                # A fine-tuned policy brings plans of its own, and nothing would judge these.
                raise ConfigError("use a plan library or fine-tuned policies, not both")
            self._library = PlanLibrary(
                self._checkpoint.encoder_id, Path(path), signal=self.parameters.success_signal
            )
        if method_named(self.parameters.method).plans:
            self._planner(self.parameters.preset)

    def _deactivate(self) -> None:
        self._server.interrupt(self.problem, timeout=2.0)

    def _planner(self, preset: str) -> Planner:
        """The method's planner, searching as a preset says; made at its first use.

        Raises ConfigError for a preset or settings that contradict the method.
        """
        if preset not in self._planners:
            method = method_named(self.parameters.method)
            if not method.plans:
                raise ConfigError(f"method {method.name} pursues the goal itself: it has no plans")
            given = None if preset == CHECKPOINT else planner_settings(preset)
            if method.takes_planner and self._overrides:
                config = planner_of(method, self._checkpoint.config.planner, given)
                given = apply_overrides(self, config, self._overrides)
            options = AgentOptions(
                planner=given,
                library=self._library,
                explore=True,
                policies=self._policies,
                threads=self.parameters.threads,
            )
            agent = build_agent(method.name, self._checkpoint, options)
            if not isinstance(agent, SubgoalAgent):
                raise ConfigError(
                    f"{method.name} plans for itself, in the policy node: leave this node out"
                )
            self._planners[preset] = agent.planner
        return self._planners[preset]

    def _episode_ended(self, outcome: EpisodeStatus) -> None:
        """Note how the newest plan did; ``success`` is what the success signal says."""
        if self._tried is not None and outcome.episode_id == self._tried[0]:
            (_, plan), self._tried = self._tried, None
            self._library.judge(plan, outcome.success)

    def _plan(self, goal: RunningGoal) -> PlanSubgoals.Result:
        self.require_active()
        request, checkpoint = goal.request, self._checkpoint
        preset = request.preset or self.parameters.preset
        planner = self._planner(preset)
        start = read_latent(request.start, self._spec.latent, "start")
        wanted = read_goal(request.goal, self._spec)
        target = wanted.latent if isinstance(wanted, LatentGoal) else self._encode(wanted.images)
        pair = np.stack([start, target]).astype(np.int64)
        self._live.swap()
        began = time.monotonic()

        def report(progress: PlanFeedback) -> None:
            goal.feedback(
                PlanSubgoals.Feedback(
                    level=progress.level,
                    levels=progress.levels,
                    iteration=progress.iteration,
                    iterations=progress.iterations,
                    best_cost=progress.best_cost,
                    seconds=time.monotonic() - began,
                )
            )

        with torch.no_grad():
            plan = planner.plan(
                *checkpoint.vqvae.lookup(torch.from_numpy(pair)),
                torch.Generator().manual_seed(request.seed),
                on_iteration=report,
                cancelled=lambda: goal.canceled,
            )
        goal.raise_if_canceled()
        if isinstance(planner, PlanLibraryPlanner):
            self._tried = request.episode_id, planner.newest
        message = self._message(plan, pair, request, preset)
        self._publisher.publish(message)
        self._last_seconds = plan.seconds
        self.get_logger().info(
            f"plan {message.plan_id}: {message.count} subgoals, cost {plan.cost:.3f}, "
            f"{plan.seconds:.2f} s ({self.parameters.method}, {preset})"
        )
        return PlanSubgoals.Result(plan=message)

    def _encode(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Codes (144,) of a goal that came as images."""
        (pixels,) = images.values()
        with torch.inference_mode():
            return self._checkpoint.vqvae.encode(torch.from_numpy(pixels)[None])[0].numpy()

    def _message(
        self, plan: Plan, pair: np.ndarray, request: PlanSubgoals.Goal, preset: str
    ) -> SubgoalPlan:
        checkpoint = self._checkpoint
        self._plans += 1
        message = plan_message(
            plan, self._spec.latent, start=pair[0], goal=pair[1], seed=request.seed
        )
        message.episode_id, message.plan_id = request.episode_id, self._plans
        message.preset, message.weights_version = preset, self._live.version
        stamp = self.get_clock().now().to_msg()
        message.header.stamp = stamp
        message.header.frame_id = CAMERA_FRAME
        with torch.no_grad():
            images = checkpoint.vqvae.decode(plan.latents).numpy()
        message.images = [array_to_image(p, stamp, CAMERA_FRAME) for p in images]
        return message

    def _status(self):
        figures = {
            "plans": self._plans,
            "planning": self._server.running,
            "last_plan_seconds": self._last_seconds,
            "updates_refused": self._live.refused,
        }
        if self._library is not None:
            figures["plans_in_library"] = len(self._library.plans)
        if not self.active:
            return ERROR, str(self.problem), figures
        return OK, f"{self.parameters.method}, preset {self.parameters.preset}", figures


def main() -> int:
    """Entry point."""
    return run(PlannerNode)
