# SPDX-License-Identifier: Apache-2.0
"""Test fixtures of the recorder: its input messages and requests on a real graph."""

from __future__ import annotations

from typing import Any

from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import ArmState, CartesianDelta, Latent, Observation, StepInfo
from ptp_interfaces.srv import FinishEpisode, GetEpisode
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from ptp_core.episodes.bag_testing import Senders
from ptp_ros import topics
from ptp_ros.agent_messages import latent_message, observation_message
from ptp_ros.graph_testing import Graph
from ptp_ros.streams import HistoryPublisher

ASK = FinishEpisode.Request


class RecorderTestNode:
    """Publishes what cameras, encoder, arm and policy would.

    ``senders``: what cameras, proprioception and actions there are. Without ``encoded`` there is
    no encoder, and the policy has no latents.
    """

    def __init__(self, graph: Graph, senders: Senders | None = None, encoded: bool = True) -> None:
        self.senders = senders or Senders()
        self._encoded = encoded
        self.stamp = graph.client.get_clock().now

        def make(kind: type, topic: str, kept: QoSProfile) -> HistoryPublisher:
            made = HistoryPublisher(graph.client, kind, topic, kept)
            graph.wait(made.history.get_subscription_count, f"a recorder of {topic}")
            return made

        self.publishers = {
            "observation": make(Observation, topics.OBSERVATION, topics.STREAM),
            "latent": make(Latent, topics.LATENT, topics.STREAM),
            "state": make(ArmState, topics.ARM_STATE, topics.KEPT),
            "step": make(StepInfo, topics.STEP, topics.KEPT),
        }

    def observe(
        self,
        seq: int,
        moved: bool = True,
        source: int = CartesianDelta.POLICY,
        step: bool = True,
        dx: float = 0.01,
    ) -> None:
        """All messages of one observation; ``step``: a policy acts on it."""
        header = Header(stamp=self.stamp().to_msg())
        senders = self.senders
        pixels = {c: senders.picture(seq, number) for number, c in enumerate(senders.cameras)}
        felt = (senders.proprioception, senders.numbers(seq)) if senders.proprioception else None
        observation = observation_message(seq, header, pixels, proprioception=felt)
        self.publishers["observation"].publish(observation)
        state = ArmState(header=header, observation_seq=seq, moved=moved)
        state.command.observation_seq = max(seq - 1, 0)
        state.command.source, state.command.dx = source, dx
        state.command.weights_version = "w1"
        self.publishers["state"].publish(state)
        if self._encoded:
            latent = Latent(seq=seq, latent=latent_message(senders.codes(seq), "encoder"))
            self.publishers["latent"].publish(latent)
        if step:
            info = StepInfo(seq=seq, observation_seq=seq, reward=-1.0)
            if self._encoded:
                info.target = latent_message(senders.codes(1000), "encoder")
            info.action_names = list(senders.actions)
            info.action = senders.action(seq).tolist()
            info.subgoal_index, info.subgoal_count = 0, 2
            self.publishers["step"].publish(info)

    def run(self, steps: int, first: int = 0, **options: Any) -> None:
        """An episode of ``steps`` transitions."""
        for seq in range(first, first + steps + 1):
            self.observe(seq, moved=seq > first, **options)


def record(graph: Graph, **goal: Any) -> tuple[Any, list]:
    """A goal whose recording has begun; its handle and feedback."""
    feedback = []
    handle = graph.send_goal(
        RecordEpisode, topics.RECORD_EPISODE, RecordEpisode.Goal(**goal), feedback
    )
    graph.wait(lambda: feedback, "the start of the recording")
    assert feedback[0].steps == 0
    return handle, feedback


def finish(graph: Graph, verdict: int, **request: Any) -> FinishEpisode.Response:
    """Answer to a request to finish."""
    return graph.call(FinishEpisode, topics.FINISH_EPISODE, ASK(verdict=verdict, **request))


def get(graph: Graph, number: int) -> GetEpisode.Response:
    """Answer to a request for an episode."""
    return graph.call(GetEpisode, topics.GET_EPISODE, GetEpisode.Request(number=number))
