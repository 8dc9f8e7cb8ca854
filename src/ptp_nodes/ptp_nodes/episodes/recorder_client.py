# SPDX-License-Identifier: Apache-2.0
"""Client of the recorder: begin and finish an episode, follow a recording, read episodes."""

from __future__ import annotations

import array
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import EpisodeRecord, ErrorCode, Goal, RecorderStatus
from ptp_interfaces.srv import FinishEpisode
from rclpy.action import ActionClient
from rclpy.node import Node

from ptp_core.episodes.episode import Episode
from ptp_ros.agent_messages import flat, latent_message
from ptp_ros.blocking_client import Caller
from ptp_ros.node_main import background_node
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import FINISH_EPISODE, LATCHED, RECORD_EPISODE, RECORDER_STATUS


def episode_record(episode: Episode) -> EpisodeRecord:
    """EpisodeRecord of an episode."""
    encoder = episode.encoder_id
    return EpisodeRecord(
        number=episode.number,
        session_id=episode.info.session_id,
        episode_id=episode.info.episode_id,
        task=episode.info.task,
        protocol=episode.info.protocol,
        instruction=episode.info.instruction,
        label=episode.label,
        count=episode.count,
        latents=latent_message(episode.latents, encoder),
        observation_seqs=flat(episode.observation_seqs),
        proprioception_names=list(episode.proprioception_names),
        proprioception=flat(episode.proprioception),
        action_names=list(episode.action_names),
        actions=flat(episode.actions),
        sources=array.array("B", episode.sources.tobytes()),
        breaks=episode.breaks.tolist(),
        weights_versions=list(episode.weights_versions),
        goal=latent_message(episode.goal, encoder),
        targets=latent_message(episode.targets, encoder),
        rewards=flat(episode.rewards),
        end_reason=episode.end_reason,
    )


VERDICTS = {
    True: FinishEpisode.Request.SAVE_SUCCESS,
    False: FinishEpisode.Request.SAVE_FAILURE,
}


class RecorderClient:
    """One episode after the other, recorded from `begin` to `save`.

    Every method blocks, raises RequestError, and must not be called in a callback.
    """

    def __init__(self, node: Node, caller: Caller, patience: float) -> None:
        self._caller = caller
        self._patience = patience
        self._record = ActionClient(node, RecordEpisode, RECORD_EPISODE)
        self._finish = node.create_client(FinishEpisode, FINISH_EPISODE)
        self._logger = node.get_logger()
        self._status = RecorderStatus()
        node.create_subscription(RecorderStatus, RECORDER_STATUS, self._heard, LATCHED)
        self._episode_id = ""

    def _heard(self, status: RecorderStatus) -> None:
        self._status = status

    def begin(
        self,
        episode_id: str,
        task: str,
        protocol: str,
        goal: Goal,
        instruction: str,
        first_seq: int,
    ) -> None:
        """Return once every message from observation ``first_seq`` on is kept.

        An episode that a practice left behind when it died is saved first, without a label.
        """
        request = RecordEpisode.Goal(
            episode_id=episode_id,
            task=task,
            protocol=protocol,
            instruction=instruction,
            goal=goal,
            first_observation_seq=first_seq,
        )
        try:
            self._begin(request)
        except RequestError as error:
            if error.code != ErrorCode.BUSY or not _of_practice(self._status.episode_id):
                raise
            self._end_abandoned()
            self._begin(request)
        self._episode_id = episode_id

    def _begin(self, goal: RecordEpisode.Goal) -> None:
        begun = threading.Event()

        def heard(feedback: RecordEpisode.Feedback) -> None:
            begun.set()
            self._caller.notify()

        result = self._caller.begin_action(
            self._record, RECORD_EPISODE, goal, self._patience, heard
        )
        self._caller.until(
            lambda: begun.is_set() or result.done(), self._patience, "the start of the recording"
        )
        if not begun.is_set():
            answer = result.result().result
            raise RequestError(
                answer.error_code or ErrorCode.INTERNAL,
                answer.error_msg or "the recording ended before it began",
            )

    def _end_abandoned(self) -> None:
        request = FinishEpisode.Request(
            verdict=FinishEpisode.Request.SAVE_UNLABELLED,
            episode_id=self._status.episode_id,
            end_reason="fault",
        )
        answer = self._caller.service(self._finish, request, self._patience, repeat=False)
        self._logger.warning(
            f"episode {request.episode_id} was being recorded for a practice that died: "
            f"kept as number {answer.number}, without a label"
        )

    def save(self, success: bool | None, last_seq: int, *, label: bool = True) -> int:
        """Save what was recorded up to observation ``last_seq``; the episode's number.

        ``success`` None: the episode was broken off, and what there is of it is saved unlabelled.
        Without ``label`` a whole one is, too: ``success`` is of another task.
        """
        request = FinishEpisode.Request(episode_id=self._episode_id)
        if success is None:
            request.verdict = FinishEpisode.Request.SAVE_UNLABELLED
            request.end_reason = "fault"
        else:
            unlabelled = FinishEpisode.Request.SAVE_UNLABELLED
            request.verdict = VERDICTS[success] if label else unlabelled
            request.end_reason = "judged"
            request.last_observation_seq = last_seq
        answer = self._caller.service(self._finish, request, self._patience, repeat=False)
        if not answer.saved:
            raise RequestError(ErrorCode.INTERNAL, "the recorder did not save the episode")
        return answer.number


def _of_practice(episode_id: str) -> bool:
    """Whether a practice named the episode, as run/task_A_episode_0, and not a person."""
    return episode_id.rpartition("/")[2].startswith("task_")


class RecordingWatch(Node):
    """Calls ``heard(episodes saved, steps of the one that is recorded)`` at each news."""

    def __init__(self, heard: Callable[[int, int], None], **options: Any) -> None:
        super().__init__("recording_watch", **options)
        self._heard = heard
        self.create_subscription(RecorderStatus, RECORDER_STATUS, self._arrived, LATCHED)

    def _arrived(self, status: RecorderStatus) -> None:
        recording = status.state == RecorderStatus.RECORDING
        self._heard(status.episodes, status.steps if recording else 0)


@contextmanager
def watching_recorder(heard: Callable[[int, int], None], domain: int) -> Iterator[None]:
    """Listen to the recorder of a ROS domain, from a thread, while the block runs."""
    with background_node(lambda context: RecordingWatch(heard, context=context), domain):
        yield
