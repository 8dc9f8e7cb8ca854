# SPDX-License-Identifier: Apache-2.0
"""Node: follows a plan with the policy, one command an observation."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Latent, StepInfo

from ptp_core.agents.agent import Agent, AgentSeeds, Decision, LatentGoal, Observation
from ptp_core.agents.method import AgentOptions
from ptp_core.agents.registry import build_agent, method_named
from ptp_core.config import FollowerConfig
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.arm_able import ArmAble
from ptp_nodes.keep_alive import KeepAlive, wait_for_reader
from ptp_nodes.live import LiveNetworks
from ptp_nodes.networks import (
    PolicyNetworkParameters,
    check_codes,
    check_encoder,
    finetuned_policies,
    load_networks,
)
from ptp_nodes.observations import Arrival, ObservationGate
from ptp_nodes.pursuit import NEWS, Pursuit
from ptp_robot.action import ActionScale
from ptp_ros.actions import Goal, SingleGoalServer
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.errors import RequestError
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.overrides import apply_overrides, declare_overrides
from ptp_ros.parameters import parameter
from ptp_ros.run import run
from ptp_ros.scalars import Scalars
from ptp_ros.topics import (
    ARM_STATE,
    BASE_FRAME,
    COMMANDS,
    KEPT,
    LATCHED,
    LATENT,
    POLICY_COMMAND,
    REACH_GOAL,
    RECORDS,
    STEP,
)

DEFAULT_SCALE = ActionScale()
SIGN_OF_LIFE = 1.0  # the same while nothing happens
SCALARS = ("latency_ms", "inference_ms", "distance", "subgoal", "weights_version")


@dataclass(frozen=True)
class PolicyParameters(PolicyNetworkParameters):
    """Parameters of the policy node; ``follower.*`` override the method's settings."""

    translation: float = parameter(
        DEFAULT_SCALE.translation, "m that an action of 1 asks for", minimum=1e-4, maximum=0.1
    )
    rotation: float = parameter(
        DEFAULT_SCALE.rotation, "rad that an action of 1 asks for", minimum=1e-4, maximum=0.5
    )
    fresh_for: float = parameter(
        0.15,
        "s after its arrival in which an observation is acted on, less than the arm's limit on "
        "age; after that a new one is asked for",
        minimum=0.01,
    )
    stale_after: float = parameter(
        0.5, "s without a usable observation until the arm is told to hold", minimum=0.01
    )
    give_up_after: float = parameter(
        5.0, "s without a usable observation until the goal is aborted", minimum=0.01
    )
    keep_alive: float = parameter(
        0.15,
        "s without a sign of life of the goal's client, its episode_id on alive, until the arm is "
        "told to hold; 0: none is waited for",
        minimum=0.0,
        maximum=10.0,
    )


class PolicyNode(ManagedNode):
    """Serves `ReachGoal`; publishes `CartesianDelta` and `StepInfo` while a goal runs.

    Subscriptions only store the newest latent. The goal's thread waits for it, asks the
    agent and publishes. When nothing usable is seen, or the goal ends early, it sends one
    command that holds still.
    """

    parameters_type = PolicyParameters

    def __init__(self, **options: Any) -> None:
        super().__init__("policy", **options)
        settings = self.parameters
        self._scale = ActionScale(settings.translation, settings.rotation)
        self._checkpoint: Checkpoint | None = None
        self._agent: Agent | None = None
        self._commands_sent = self._steps_sent = self._goals = self._problems = 0
        self._latency = 0.0
        self._gate = ObservationGate(
            lambda: self.get_clock().now().nanoseconds,
            settings.fresh_for,
            settings.stale_after,
            settings.give_up_after,
        )
        # Life-cycle publishers: nothing leaves before activation.
        self._commands = self.create_lifecycle_publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
        self._steps = self.create_lifecycle_publisher(StepInfo, STEP, KEPT)
        self.streams.subscribe(Latent, LATENT, self._gate.put, LATCHED)
        self._taken_over = self._refused = False
        self._lock_step = bool(self.get_parameter("use_sim_time").value)
        self._heard = self._pending = False  # anything of the arm; a command, nothing of it yet
        self._next = 0  # observation from which on the arm's state is after the last command
        self._arm_news = threading.Condition()
        self.streams.subscribe(ArmState, ARM_STATE, self._state_arrived, RECORDS)
        self._live = LiveNetworks(self)
        self._arm = ArmAble(self.streams)
        self._client = KeepAlive(self.streams, settings.keep_alive)
        self._scalars = Scalars(self, *SCALARS)
        self._server = SingleGoalServer(self, ReachGoal, REACH_GOAL, self._reach)
        Diagnostics(self, self._status)

    def declare_more(self) -> None:
        """Declare ``follower.*``, one for each field of FollowerConfig."""
        self._overrides = declare_overrides(self, "follower", FollowerConfig)

    def stop(self) -> None:
        """End the running goal and its thread."""
        super().stop()
        self._server.stop()
        self._live.stop()

    def _configure(self) -> None:
        self._checkpoint = load_networks(self.parameters)
        method = method_named(self.parameters.method)
        stored = method.follower(self._checkpoint.config.follower)
        config = apply_overrides(self, stored, self._overrides)
        policies = finetuned_policies(self.parameters, self._checkpoint)
        options = AgentOptions(follower=config, policies=policies)
        self._agent = build_agent(method.name, self._checkpoint, options)
        self._live.use(self._checkpoint, method.learned, policies)
        self._epsilon = self._checkpoint.config.iql.reward_epsilon
        # The first call of a network pays for set-up; nobody should wait for it later.
        nothing = np.zeros(self._agent.spec.latent.shape, np.int64)
        self._agent.reset(Observation(), LatentGoal(nothing), AgentSeeds(0, 0), subgoals=[])
        self._agent.act(Observation(latent=nothing))

    def _deactivate(self) -> None:
        # While commands still leave: the goal ends with one that holds still.
        self._server.interrupt(self.problem, timeout=2.0)

    def _reach(self, goal: Goal) -> ReachGoal.Result:
        self.require_active()
        request = goal.request
        plan, target = self._check(request)
        self._goals += 1
        self._refused = self._pending = False
        self._next = 0
        self._gate.restart(request.first_observation_seq)
        self._agent.reset(
            Observation(),  # the plan was made elsewhere
            LatentGoal(target[0]),
            AgentSeeds(request.seed, request.seed),
            subgoals=[LatentGoal(codes) for codes in plan],
        )
        episode = Pursuit(request.episode_id, self._goals, plan, target[0])
        result = ReachGoal.Result()
        try:
            wait_for_reader(self._commands, self.parameters.give_up_after, goal.raise_if_canceled)
            while self._last_was_refused() or result.steps < request.max_steps:
                self._step(goal, episode, result)
        except RequestError as error:
            self._hold(episode)
            result.error_code, result.error_msg = error.code, str(error)
            self._log_end(error)
        if episode.latencies:
            p50, p99 = np.percentile(episode.latencies, [50, 99])
            result.latency_p50, result.latency_p99 = float(p50), float(p99)
            result.distance = self._distance(episode.last_codes, target[0])
        result.dropped = self._gate.dropped
        return result

    def _check(self, request: ReachGoal.Goal) -> tuple[np.ndarray, np.ndarray]:
        """Codes of plan (K, 144) and goal (1, 144), or RequestError."""
        check_encoder(request.encoder_id, self._checkpoint, "goal's")
        target = check_codes(request.goal_codes, self._checkpoint, "goal picture")
        if request.plan.count:
            check_encoder(request.plan.encoder_id, self._checkpoint, "plan's")
        plan = check_codes(request.plan.codes, self._checkpoint, "plan")
        if len(plan) != request.plan.count:
            raise RequestError(
                ErrorCode.BAD_REQUEST,
                f"the plan says {request.plan.count} subgoals and has codes of {len(plan)}",
            )
        return plan, target

    def _step(self, goal: Goal, episode: Pursuit, result: ReachGoal.Result) -> None:
        def problem(error: RequestError) -> None:
            self._problems += 1
            self.get_logger().error(f"holding still: {error}")
            self._hold(episode)

        dropped = self._gate.dropped

        def check() -> None:
            goal.raise_if_canceled()
            if episode.due(SIGN_OF_LIFE):
                goal.feedback(episode.feedback)

        give_up_after = self.parameters.give_up_after
        self._client.wait(episode.name, give_up_after, problem, check)
        self._arm.wait(give_up_after, problem, check)
        # A person who has the arm may take time; nothing is wrong then.
        arrival = self._gate.next(
            self._checkpoint,
            problem,
            check,
            excused=lambda: self._taken_over,
            on_old=lambda: self._hold(episode),
        )
        self._live.swap()
        began = time.monotonic()
        refused, self._refused = self._refused and result.steps > 0, False
        result.steps -= refused  # it moved nothing: it was no step
        if refused and episode.same(arrival.latent.codes):  # it is the answer still
            decision = episode.decision
        else:
            with torch.inference_mode():
                decision = self._agent.act(Observation(latent=np.asarray(arrival.latent.codes)))
            result.subgoals_reached += decision.switched and not decision.timed_out
            result.subgoals_timed_out += decision.timed_out
        inference = time.monotonic() - began
        command = self._command(arrival.latent, self._scale.to_delta(decision.action))
        self._pending = True
        self._commands.publish(command)
        self._latency = time.monotonic() - arrival.time
        episode.answered(arrival.latent.codes, decision, command, self._latency)
        info = self._info(episode, arrival, decision, command, inference)
        info.step = result.steps
        info.dropped = self._gate.dropped - dropped
        self._steps.publish(info)
        result.steps += 1
        result.last_observation_seq = arrival.latent.seq
        episode.feedback = ReachGoal.Feedback(
            step=result.steps, subgoal_index=decision.subgoal_index, distance=decision.distance
        )
        if episode.due(NEWS):
            goal.feedback(episode.feedback)
            figures = (
                *(self._latency * 1e3, inference * 1e3),
                *(decision.distance, decision.subgoal_index, self._live.number),
            )
            self._scalars.publish(dict(zip(SCALARS, figures)))

    def _state_arrived(self, state: ArmState) -> None:
        with self._arm_news:
            self._taken_over, self._heard = state.taken_over, True
            mine = state.moved and state.command.source == CartesianDelta.POLICY
            mine = mine and state.command.seq == self._commands_sent
            stale = state.error_code == ErrorCode.STALE_OBSERVATION and not state.moved
            if mine or stale:
                self._refused, self._pending = stale, False
                self._next = state.observation_seq
            self._arm_news.notify_all()

    def _last_was_refused(self) -> bool:
        """Whether the arm refused the last command.

        In lock-step the next picture's state says what became of it; pictures from before that
        are not answered.
        """
        with self._arm_news:
            if self._lock_step and self._heard:
                self._arm_news.wait_for(lambda: not self._pending, self.parameters.stale_after)
                self._gate.begin(self._next)
            return self._refused

    def _command(self, latent: Latent, delta) -> CartesianDelta:
        self._commands_sent += 1
        command = CartesianDelta(
            seq=self._commands_sent,
            observation_seq=latent.seq,
            observation_stamp=latent.header.stamp,
            source=CartesianDelta.POLICY,
            dx=delta.dx,
            dy=delta.dy,
            dz=delta.dz,
            dyaw=delta.dyaw,
            gripper=delta.gripper,
            weights_version=self._live.version,
        )
        command.header.stamp = self.get_clock().now().to_msg()
        command.header.frame_id = BASE_FRAME
        return command

    def _hold(self, episode: Pursuit) -> None:
        """Tell the arm to stand still, and ask for a new picture: it answers no observation.

        Once until it comes: of two pictures of one scene the second would be answered in vain.
        """
        if episode.asked or not self.context.ok():
            return  # or nothing can be sent any more
        episode.asked = True
        self._gate.skip()
        last = episode.last_command
        self._commands_sent += 1
        hold = CartesianDelta(
            seq=self._commands_sent,
            source=CartesianDelta.POLICY,
            gripper=0.0 if last is None else last.gripper,
            weights_version=self._live.version,
        )
        hold.header.stamp = self.get_clock().now().to_msg()
        hold.header.frame_id = BASE_FRAME
        self._commands.publish(hold)

    def _info(
        self,
        episode: Pursuit,
        arrival: Arrival,
        decision: Decision,
        command: CartesianDelta,
        inference: float,
    ) -> StepInfo:
        self._steps_sent += 1
        return StepInfo(
            header=command.header,
            seq=self._steps_sent,
            episode_id=episode.name,
            episode=episode.number,
            observation_seq=arrival.latent.seq,
            observation_stamp=arrival.latent.header.stamp,
            codes=arrival.latent.codes,
            encoder_id=arrival.latent.encoder_id,
            subgoal_index=decision.subgoal_index,
            subgoal_count=episode.count,
            target_codes=episode.target(decision.subgoal_index),
            distance=decision.distance,
            switched=bool(decision.switched),
            reward=float(decision.distance < self._epsilon) - 1.0,
            action=decision.action,
            command=command,
            inference_seconds=inference,
            latency=self._latency,
        )

    def _distance(self, codes: np.ndarray, target: np.ndarray) -> float:
        """L2 between two latents given as codes (144,)."""
        pair = torch.from_numpy(np.stack([codes, target]).astype(np.int64))
        with torch.inference_mode():
            first, second = self._checkpoint.vqvae.lookup(pair)
        return float(torch.linalg.vector_norm(first - second))

    def _log_end(self, error: RequestError) -> None:
        if error.code in (ErrorCode.CANCELED, ErrorCode.SHUTTING_DOWN):
            self.get_logger().info(f"reach_goal: {error}")
        else:
            self.get_logger().error(f"reach_goal: {error}")

    def _status(self):
        figures = {
            "commands": self._commands_sent,
            "goals": self._goals,
            "problems": self._problems,
            "updates_refused": self._live.refused,
            **self._scalars.newest(),
        }
        if not self.active:
            return ERROR, str(self.problem), figures
        figures["weights"] = self._live.version
        if self._server.running:
            return OK, "reaching a goal", figures
        return (WARN if self._problems else OK), "idle", figures


def main() -> int:
    """Entry point."""
    return run(PolicyNode)
