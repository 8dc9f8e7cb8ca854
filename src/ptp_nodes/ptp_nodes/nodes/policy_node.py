# SPDX-License-Identifier: Apache-2.0
"""Node: brings a goal about with an agent, one action an observation."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Latent, StepInfo
from ptp_interfaces.msg import Observation as ObservationMessage

from ptp_core.agents.agent import (
    Agent,
    AgentSeeds,
    Decision,
    Goal,
    LatentGoal,
    Observation,
    RedirectableAgent,
    warm_up,
)
from ptp_core.agents.registry import AgentOptions, Method, build_agent, method_named
from ptp_core.config import FollowerConfig
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.errors import ConfigError, PtpError
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.rollout.episode_results import MAX_STEPS
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.policy.agent_display import AgentDisplay
from ptp_nodes.policy.agent_networks import (
    LiveNetworks,
    PolicyNetworkParameters,
    finetuned_policies,
    load_networks,
)
from ptp_nodes.policy.goal_change import GoalChange
from ptp_nodes.policy.observation_gate import NEWS, Arrival, GoalProgress, Message, ObservationGate
from ptp_nodes.policy.readiness import ArmAvailable, Heartbeat, ViewReady, wait_for_reader
from ptp_robot.action import ActionScale
from ptp_ros.action_server import RunningGoal as ActionGoal
from ptp_ros.action_server import SingleGoalServer
from ptp_ros.agent_messages import (
    number,
    read_encoded,
    read_goal,
    read_latent,
    read_observation,
    step_info,
)
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Scalars
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.node_main import run
from ptp_ros.parameters import apply_overrides, declare_overrides, parameter
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import (
    ARM_STATE,
    BASE_FRAME,
    COMMANDS,
    KEPT,
    LATCHED,
    LATENT,
    OBSERVATION,
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
    max_steps: int = parameter(
        MAX_STEPS,
        "control steps of a goal that names none, or whose client gives no signs of life",
        minimum=1,
    )
    command_arm: bool = parameter(
        True,
        "the actions are commands of an arm; false: they are of any layout and leave on step "
        "alone, for a simulator that takes them from there",
    )
    await_view: bool = parameter(
        False, "begin a goal only when the view node gets the steps, so that it films them all"
    )


class PolicyNode(ManagedNode):
    """Serves `ReachGoal`; publishes `CartesianDelta` and `StepInfo` while a goal runs.

    Subscriptions only store the newest latent, or for an agent without an encoder of its own the
    newest observation. The goal's thread waits for it, asks the
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
        self._steps = HistoryPublisher(self, StepInfo, STEP, KEPT, managed=True)
        self._display = AgentDisplay(self)
        self._change = GoalChange()
        self._sees: str | None = None  # topic that the agent looks at, once it is known
        self._taken_over = self._refused = False
        self._lock_step = bool(self.get_parameter("use_sim_time").value)
        self._heard = self._pending = False  # anything of the arm; a command, nothing of it yet
        self._next = 0  # observation from which on the arm's state is after the last command
        self._arm_news = threading.Condition()
        self.streams.subscribe(ArmState, ARM_STATE, self._state_arrived, RECORDS)
        self._live = LiveNetworks(self)
        self._arm = ArmAvailable(self.streams)
        self._view = ViewReady(self, self._steps.newest, settings.await_view)
        self._client = Heartbeat(self.streams, settings.keep_alive)
        self._scalars = Scalars(self, *SCALARS)
        self._server = SingleGoalServer(
            self, ReachGoal, REACH_GOAL, self._reach, _nothing_yet, self._redirect
        )
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
        policies = finetuned_policies(self.parameters, self._checkpoint)
        method = method_named(self.parameters.method)
        self._agent = self._make_agent(method, policies)
        self._look()
        self._live.use(self._checkpoint, method.practised_parts, policies)
        warm_up(self._agent)

    def _make_agent(self, method: Method, policies: FineTunedPolicies | None) -> Agent:
        follower = None
        if self._overrides:
            stored = method.follower(self._checkpoint.config)
            follower = apply_overrides(self, stored, self._overrides)
        options = AgentOptions(follower=follower, policies=policies)
        return build_agent(method.name, self._checkpoint, options)

    def _look(self) -> None:
        """Check the agent's actions, and subscribe to what it looks at."""
        spec = self._agent.spec
        if self.parameters.command_arm and spec.actions != CARTESIAN:
            raise ConfigError(
                f"{spec.agent} gives {', '.join(spec.actions)}, an arm takes "
                f"{', '.join(CARTESIAN)}: use another agent, or set command_arm to false for a "
                f"simulator that takes actions from {STEP}"
            )
        sees = OBSERVATION if spec.latent is None else LATENT
        if self._sees is None:
            kind = ObservationMessage if spec.latent is None else Latent
            self._sees = sees
            self.streams.subscribe(kind, sees, self._gate.put, LATCHED)
        elif self._sees != sees:
            raise ConfigError(
                f"{spec.agent} looks at {sees}, not at {self._sees}: restart the node"
            )

    def _read(self, message: Message) -> Observation:
        spec = self._agent.spec
        return (read_observation if spec.latent is None else read_encoded)(message, spec)

    def _deactivate(self) -> None:
        # While commands still leave: the goal ends with one that holds still.
        self._server.interrupt(self.problem, timeout=2.0)

    def _reach(self, goal: ActionGoal) -> ReachGoal.Result:
        self.require_active()
        request = goal.request
        target, subgoals = self._check(request)
        most = self.parameters.max_steps
        steps = request.max_steps or most
        if not request.episode_id:
            steps = min(steps, most)
        self._goals += 1
        self._refused = self._pending = False
        self._next = 0
        self._gate.restart(request.first_observation_seq)
        episode = GoalProgress(request.episode_id, self._goals)
        result = _nothing_yet()
        self._change.open()
        try:
            readers = self._commands if self.parameters.command_arm else self._steps.newest
            wait_for_reader(readers, self.parameters.give_up_after, goal.raise_if_canceled)
            self._view.wait(goal.raise_if_canceled)
            arrival = self._begin(goal, episode, target, subgoals)
            while self._last_was_refused() or result.steps < steps:
                self._step(goal, episode, result, arrival)
                arrival = None
        except PtpError as problem:
            error = goal.interruption or problem
            self._hold(episode)
            fill_error(result, error)
            self._log_end(result)
        except Exception:  # the agent's own fault; the server says so
            self._hold(episode)
            raise
        finally:
            self._change.close()
        if episode.latencies:
            p50, p99 = np.percentile(episode.latencies, [50, 99])
            result.latency_p50, result.latency_p99 = float(p50), float(p99)
            result.distance = number(self._agent.distance(episode.last))
        result.dropped = self._gate.dropped
        return result

    def _check(self, request: ReachGoal.Goal) -> tuple[Goal, list[Goal] | None]:
        """The goal, and the subgoals that lead to it; None: the agent plans for itself."""
        spec, plan = self._agent.spec, request.plan
        target = read_goal(request.goal, spec)
        if isinstance(self._agent, RedirectableAgent):
            self._agent.check_goal(target)
        problem = ""
        if request.planning > ReachGoal.Goal.PURSUE_GOAL:
            problem = f"planning {request.planning}: see ReachGoal"
        elif request.planning == ReachGoal.Goal.PURSUE_PLAN:
            if spec.latent is None:
                problem = f"{spec.agent} has no latents: it pursues no plan of somebody else's"
            elif not plan.count:
                problem = "the plan is empty: leave planning out, or set it to PURSUE_GOAL"
        elif plan.count or len(plan.subgoals.shape):
            problem = (
                "there is a plan, which only PURSUE_PLAN pursues: set planning, or leave it out"
            )
        if problem:
            raise RequestError(ErrorCode.BAD_REQUEST, problem)
        if request.planning == ReachGoal.Goal.PLAN_ITSELF:
            return target, None
        if request.planning == ReachGoal.Goal.PURSUE_GOAL:
            return target, []
        latents = read_latent(plan.subgoals, spec.latent, "plan", stacked=True)
        if len(latents) != plan.count:
            raise RequestError(
                ErrorCode.BAD_REQUEST,
                f"the plan says {plan.count} subgoals and has latents of {len(latents)}",
            )
        return target, [LatentGoal(latent) for latent in latents]

    def _redirect(self, running: ActionGoal, goal: ActionGoal) -> ReachGoal.Result | None:
        """Let the running episode pursue a second goal from its next step on.

        None: it cannot. Raises PtpError for a goal that is wrong, and the episode goes on as
        before.
        """
        asked, request = running.request, goal.request
        mine = request.episode_id in ("", asked.episode_id)
        alone = asked.planning == request.planning == ReachGoal.Goal.PLAN_ITSELF
        if not (mine and alone and isinstance(self._agent, RedirectableAgent)):
            return None
        self.require_active()
        target, _ = self._check(request)
        if not self._change.offer(target, goal.raise_if_canceled):
            raise RequestError(
                ErrorCode.BUSY, "the episode ended before it pursued this goal: send it again"
            )
        return _nothing_yet()

    def _begin(
        self, goal: ActionGoal, episode: GoalProgress, target: Goal, subgoals: list[Goal] | None
    ) -> Arrival:
        """Give the agent its goal, at the first observation; it is to be acted on."""
        seed = goal.request.seed % 2**32
        arrival = self._wait(goal, episode)
        self._live.swap()
        self._agent.reset(
            arrival.observation,
            target,
            AgentSeeds(seed, seed),
            subgoals=subgoals,
            cancelled=lambda: goal.canceled,
        )
        self._display.told(target)
        return arrival

    def _wait(self, goal: ActionGoal, episode: GoalProgress) -> Arrival:
        """The next observation that may be acted on; meanwhile the arm holds still."""

        def problem(error: RequestError) -> None:
            self._problems += 1
            self.get_logger().error(f"holding still: {error}")
            self._hold(episode)

        def check() -> None:
            goal.raise_if_canceled()
            if episode.due(SIGN_OF_LIFE):
                goal.feedback(episode.feedback)

        give_up_after = self.parameters.give_up_after
        if episode.name:
            self._client.wait(episode.name, give_up_after, problem, check)
        self._arm.wait(give_up_after, problem, check)
        # A person who has the arm may take time; nothing is wrong then.
        arrival = self._gate.next(
            self._read,
            problem,
            check,
            excused=lambda: self._taken_over,
            on_old=lambda: self._hold(episode),
        )
        episode.asked = False  # it came: the next time another one has to be asked for
        return arrival

    def _step(
        self,
        goal: ActionGoal,
        episode: GoalProgress,
        result: ReachGoal.Result,
        arrival: Arrival | None,
    ) -> None:
        """Act on the next observation, or on ``arrival`` where it is still fresh."""
        if arrival is not None and time.monotonic() - arrival.time > self.parameters.fresh_for:
            self._hold(episode)  # planning took so long
            arrival = None
        arrival = arrival or self._wait(goal, episode)
        self._live.swap()
        began = time.monotonic()
        refused, self._refused = self._refused and result.steps > 0, False
        result.steps -= refused  # it moved nothing: it was no step
        other = self._change.take()
        if other is not None:
            self._agent.pursue(other)
            self._display.told(other)
        if (
            refused and other is None and episode.same(arrival.observation)
        ):  # it is the answer still
            decision = episode.decision
        else:
            decision = self._agent.act(arrival.observation, lambda: goal.canceled)
            self._agent.spec.check_action(decision.action)
            result.subgoals_reached += decision.switched and not decision.timed_out
            result.subgoals_timed_out += decision.timed_out
        inference = time.monotonic() - began
        command = self._command(arrival.message, decision.action)
        if self.parameters.command_arm:
            self._pending = True
            self._commands.publish(command)
        self._latency = time.monotonic() - arrival.time
        episode.answered(arrival.observation, decision, command, self._latency)
        info = self._info(episode, arrival, decision, command, inference)
        info.step = result.steps
        info.dropped, episode.dropped = self._gate.dropped - episode.dropped, self._gate.dropped
        self._steps.publish(info)
        if goal.request.planning == ReachGoal.Goal.PLAN_ITSELF:
            self._display.show(
                self._agent, decision, goal.request, command.header, self._live.version
            )
        result.steps += 1
        result.last_observation_seq = arrival.message.seq
        episode.feedback = ReachGoal.Feedback(
            step=result.steps, subgoal_index=decision.subgoal_index, distance=info.distance
        )
        if episode.due(NEWS):
            goal.feedback(episode.feedback)
            figures = (
                *(self._latency * 1e3, inference * 1e3),
                *(info.distance, decision.subgoal_index, self._live.number),
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

        In lock-step the next observation's state says what became of it; observations from before
        that are not answered.
        """
        with self._arm_news:
            if self._lock_step and self._heard:
                self._arm_news.wait_for(lambda: not self._pending, self.parameters.stale_after)
                self._gate.begin(self._next)
            return self._refused

    def _command(self, seen: Message, action: np.ndarray) -> CartesianDelta:
        self._commands_sent += 1
        command = CartesianDelta(
            seq=self._commands_sent,
            observation_seq=seen.seq,
            observation_stamp=seen.header.stamp,
            source=CartesianDelta.POLICY,
            weights_version=self._live.version,
        )
        if self._agent.spec.actions == CARTESIAN:
            for name, value in vars(self._scale.to_delta(action)).items():
                setattr(command, name, value)
        command.header.stamp = self.get_clock().now().to_msg()
        command.header.frame_id = BASE_FRAME
        return command

    def _hold(self, episode: GoalProgress) -> None:
        """Tell the arm to stand still, and ask for a new observation: it answers none.

        Once until it comes: of two images of one scene the second would be answered in vain.
        """
        if episode.asked or not self.context.ok():
            return  # or nothing can be sent any more
        episode.asked = True
        self._gate.skip()
        if not self.parameters.command_arm:
            return  # whoever takes the steps goes on waiting for one
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
        episode: GoalProgress,
        arrival: Arrival,
        decision: Decision,
        command: CartesianDelta,
        inference: float,
    ) -> StepInfo:
        self._steps_sent += 1
        info = step_info(self._agent.spec, decision, arrival.message)
        info.header, info.seq, info.command = command.header, self._steps_sent, command
        info.episode_id, info.episode = episode.name, episode.number
        info.subgoal_count = episode.count
        info.inference_seconds, info.latency = inference, self._latency
        return info

    def _log_end(self, result: ReachGoal.Result) -> None:
        text = f"reach_goal: {result.error_msg}"
        if result.error_code in (ErrorCode.CANCELED, ErrorCode.SHUTTING_DOWN):
            self.get_logger().info(text)
        else:
            self.get_logger().error(text)

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


def _nothing_yet() -> ReachGoal.Result:
    """Before the first step no distance is known."""
    return ReachGoal.Result(distance=math.nan)


def main() -> int:
    """Entry point."""
    return run(PolicyNode)
