# SPDX-License-Identifier: Apache-2.0
"""Counts of practice: success, a person's share, and how the plan of an episode ended."""

from __future__ import annotations

import threading
import typing
from collections import deque
from collections.abc import Callable

from ptp_interfaces.msg import ArmState, CartesianDelta, EpisodeStatus, ErrorCode, Latent
from rclpy.node import Node

from ptp_core.errors import ConfigError
from ptp_core.practice.practice_settings import SuccessSignal
from ptp_ros.agent_messages import read_latent
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import LATCHED, PLAN_OUTCOME

RECENT = 20  # episodes that count as recent

NAMES = (
    "episodes",
    "success_rate",
    "recent_success_rate",
    "interventions",
    "intervention_rate",
)


class PracticeMetrics:
    """Figures of a practice run under the names of its scalar topics. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._successes = self._episodes = self._interventions = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._steps = self._by_person = 0

    def begin(self) -> None:
        """An episode begins: what moved the arm before does not count for it."""
        with self._lock:
            self._steps = self._by_person = 0

    def moved(self, state: ArmState) -> None:
        """Count the step that led to ``state``, if there was one."""
        if state.moved:
            with self._lock:
                self._steps += 1
                self._by_person += state.command.source == CartesianDelta.TELEOP

    def judged(self, success: bool) -> dict[str, float]:
        """Count the episode that ended; the figures after it.

        ``interventions``: steps that a person did, over the whole run. ``intervention_rate``:
        share of such steps in this episode. ``recent_success_rate``: over the last `RECENT`.
        """
        with self._lock:
            self._episodes += 1
            self._successes += success
            self._recent.append(success)
            self._interventions += self._by_person
            values = (
                self._episodes,
                self._successes / self._episodes,
                sum(self._recent) / len(self._recent),
                self._interventions,
                self._by_person / max(self._steps, 1),
            )
        return dict(zip(NAMES, values))


NONE = "none"  # nobody is told: nothing learns, and no plan is kept
SIGNALS = (NONE, *typing.get_args(SuccessSignal))


class PlanOutcome:
    """Publishes the outcomes.

    ``signal``: one of `SIGNALS`; "latent" and "classifier" need a ``checkpoint``. Raises
    ConfigError without one, and CheckpointError where it cannot be used.
    """

    def __init__(self, node: Node, signal: str, checkpoint: str) -> None:
        self._node = node
        self._signal = signal
        self._checkpoint = None
        self._publisher = node.create_publisher(EpisodeStatus, PLAN_OUTCOME, LATCHED)
        if signal not in (NONE, "simulator"):
            if not checkpoint:
                raise ConfigError(
                    f'success_signal "{signal}" needs networks: set the parameter checkpoint'
                )
            from ptp_core.practice.success_signal import check_signal  # torch: for this alone
            from ptp_core.training.checkpoint import load_checkpoint

            self._checkpoint = load_checkpoint(checkpoint)
            check_signal(signal, self._checkpoint)

    def tell(
        self, episode_id: str, judged: bool, last: Callable[[], Latent], goal: Latent
    ) -> None:
        """Publish the outcome of an episode.

        ``judged``: the scene's verdict, read for the signal "simulator" alone. ``last``, ``goal``:
        latents of the last observation and of the goal, asked for the other signals. Where
        these cannot be compared the plan stays without a verdict, and the log says why. Raises
        RequestError when the node stops.
        """
        if self._signal == NONE:
            return
        try:
            success = judged if self._checkpoint is None else self._judge(last(), goal)
        except RequestError as error:
            if error.code == ErrorCode.SHUTTING_DOWN:
                raise
            self._node.get_logger().error(f"{episode_id}: its plan has no verdict: {error}")
            return
        status = EpisodeStatus(episode_id=episode_id, state=EpisodeStatus.JUDGED, success=success)
        status.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(status)

    def _judge(self, last: Latent, goal: Latent) -> bool:
        from ptp_core.practice.success_signal import own_judgement
        from ptp_nodes.policy.agent_networks import agent_spec  # torch, as above

        if last.error_code != ErrorCode.NONE:
            raise RequestError(last.error_code, last.error_msg)
        spec = agent_spec(self._checkpoint).latent
        return own_judgement(
            self._signal,
            read_latent(last.latent, spec, "last latent"),
            read_latent(goal.latent, spec, "goal's latent"),
            self._checkpoint,
        )
