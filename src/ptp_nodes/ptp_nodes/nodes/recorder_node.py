# SPDX-License-Identifier: Apache-2.0
"""Node: records episodes, keeps them safe, and serves them by number."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import (
    ArmState,
    EpisodeStatus,
    ErrorCode,
    Latent,
    Observation,
    RecorderStatus,
    StepInfo,
    StepRecord,
    SubgoalPlan,
)
from ptp_interfaces.msg import Goal as GoalMessage
from ptp_interfaces.srv import FinishEpisode, GetEpisode, LabelEpisode
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from ptp_core.data.file_limits import XML_MOST, OverBudget, read_bytes
from ptp_core.episodes.bag_writer import BagTopic
from ptp_core.episodes.episode import LABELS, EpisodeInfo, Step, step_message
from ptp_core.episodes.episode_recorder import (
    EpisodeRecorder,
    EpisodeVerdict,
    Outcome,
    RecorderLimits,
    RecorderState,
)
from ptp_core.episodes.latent_fields import latent_array
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.errors import ConfigError, InputError, PtpError
from ptp_nodes.episodes.recorder_client import episode_record
from ptp_robot.action import ActionScale
from ptp_ros import topics
from ptp_ros.action_server import RunningGoal, SingleGoalServer
from ptp_ros.agent_messages import goal_kind
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Scalars
from ptp_ros.image_messages import colour_to_array
from ptp_ros.lifecycle import ManagedNode, ManagedParameters
from ptp_ros.node_main import run
from ptp_ros.parameters import parameter
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.worker import in_executor

SCALE = ActionScale()
BACKLOG = 100  # messages of a latched topic that may wait for this node
# Of joint states: fits what publishes them, reliable or not.
JOINTS = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST,
    depth=BACKLOG,
)

# In the order in which an episode begins. Of those that are KEPT or a STREAM the history is heard.
RECORDED = (
    (String, topics.ROBOT_DESCRIPTION, topics.LATCHED),
    (Image, topics.GOAL_IMAGE, topics.LATCHED),
    (SubgoalPlan, topics.PLAN, topics.LATCHED),
    (EpisodeStatus, topics.EPISODE, topics.LATCHED),
    (String, topics.INSTRUCTION, topics.LATCHED),
    (Observation, topics.OBSERVATION, topics.STREAM),
    (Latent, topics.LATENT, topics.STREAM),
    (ArmState, topics.ARM_STATE, topics.KEPT),
    (StepInfo, topics.STEP, topics.KEPT),
)


@dataclass(frozen=True)
class RecorderParameters(ManagedParameters):
    """Parameters of the recorder node."""

    folder: str = parameter("", "session folder: the episodes and their index")
    image: bool = parameter(True, "record image_raw, the image for people, too")
    urdf: str = parameter(
        "", "URDF file of the arm, recorded as robot_description; empty: the graph's, if any"
    )
    min_free: int = parameter(500, "MB that must stay free on the disk", minimum=0)
    queue: int = parameter(
        64, "MB that may wait for a slow disk; then image_raw is dropped first", minimum=1
    )
    patience: float = parameter(
        10.0, "s that the last latent and arm state of an episode may take", minimum=0.0
    )
    observation_size: int = parameter(
        48, "pixels a side of a goal image: those of the observations", minimum=4
    )
    translation: float = parameter(
        SCALE.translation, "m that an action of 1 asks for", minimum=1e-4, maximum=0.1
    )
    rotation: float = parameter(
        SCALE.rotation, "rad that an action of 1 asks for", minimum=1e-4, maximum=0.5
    )


def versions() -> dict[str, str]:
    """What a session was recorded with."""
    try:
        own = version("ptp_core")
    except PackageNotFoundError:  # run from the source tree
        own = "unknown"
    return {"ptp": own, "ros_distro": os.environ.get("ROS_DISTRO", "unknown")}


POLL = 0.25  # s between feedbacks


class RecorderNode(ManagedNode):
    """Serves `RecordEpisode`, `FinishEpisode`, `LabelEpisode` and `GetEpisode`.

    Subscriptions are raw: a callback hands the bytes to the library's queue. Whatever may take
    longer (the disk, a bag to read) happens in threads.
    """

    parameters_type = RecorderParameters

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", **options)
        self._recorder: EpisodeRecorder | None = None
        self._definitions: Definitions | None = None
        self._states = self.create_publisher(
            RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED
        )
        self._steps = self.create_publisher(StepRecord, topics.STEP_RECORD, topics.RECORDS)
        self._scalars = Scalars(self, "episodes", "steps", "interventions", "success", "dropped")
        self._goal_image = self._topic(Image, topics.GOAL_IMAGE, topics.LATCHED)
        self._goal_topic = self._topic(GoalMessage, topics.GOAL, topics.LATCHED)
        self._step_topic = self._topic(StepRecord, topics.STEP_RECORD, topics.RECORDS)
        self._topics = [self._subscribe(*entry) for entry in RECORDED]
        self._joints = self._subscribe(JointState, topics.JOINT_STATES, JOINTS)
        self._topics.append(self._joints)
        self._images = self._topic(Image, topics.IMAGE_RAW, topics.SENSOR)
        if self.parameters.image:
            self._topics.append(self._subscribe(Image, topics.IMAGE_RAW, topics.SENSOR))
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="recorder_requests")
        self._server = SingleGoalServer(self, RecordEpisode, topics.RECORD_EPISODE, self._record)
        group = ReentrantCallbackGroup()
        for kind, name, work in (
            (FinishEpisode, topics.FINISH_EPISODE, self._finish),
            (LabelEpisode, topics.LABEL_EPISODE, self._label),
            (GetEpisode, topics.GET_EPISODE, self._get),
        ):
            self.create_service(kind, name, self._serve(work), callback_group=group)
        Diagnostics(self, self._status)

    def start(self) -> None:
        """Configure and activate; then say how that went."""
        super().start()
        self._publish_status()

    def stop(self) -> None:
        """End the recording, which waits for repair, and the threads."""
        super().stop()
        self._server.stop()
        self._cleanup()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _topic(self, kind: type, name: str, qos: QoSProfile) -> BagTopic:
        return BagTopic(
            self.resolve_topic_name(name),
            kind.__module__.partition(".")[0] + f"/msg/{kind.__name__}",
            latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            reliable=qos.reliability == ReliabilityPolicy.RELIABLE,
            depth=qos.depth,
        )

    def _subscribe(self, kind: type, name: str, qos: QoSProfile) -> BagTopic:
        topic = self._topic(kind, name, qos)
        # Deeper than its publisher's: what comes while this process is busy is not replaced.
        deep = QoSProfile(
            reliability=qos.reliability,
            durability=qos.durability,
            history=HistoryPolicy.KEEP_LAST,
            depth=max(qos.depth, 1 if qos is topics.SENSOR else BACKLOG),
        )

        def arrived(data: bytes) -> None:
            if self._recorder is not None:
                self._recorder.put(topic, data)

        heard = topics.history_of(name) if qos in (topics.STREAM, topics.KEPT) else name
        self.streams.subscribe(kind, heard, arrived, deep, raw=True)
        return topic

    def _configure(self) -> None:
        settings = self.parameters
        if not settings.folder:
            raise ConfigError("no folder given: set the parameter folder to that of the session")
        self._definitions = Definitions()
        description = self._description()
        session = Session(settings.folder, create=versions())
        self._recorder = EpisodeRecorder(
            session,
            self._definitions,
            self._topics,
            self._step_topic,
            spare=[self._images.name, self._joints.name],
            limits=RecorderLimits(settings.min_free, settings.queue),
            on_step=self._publish_step,
            on_change=self._publish_status,
            on_problem=self._log_problem,
        )
        if description:
            self._recorder.put(self._topics[0], description)
        log = self.get_logger()
        log.info(f"session {session.session_id}: {session.next_number()} episodes")
        if left := session.unfinished():
            log.warning(
                f"{len(left)} unfinished recordings: stop this node and run "
                f"`ptp episodes repair {settings.folder}` to get them back"
            )

    def _description(self) -> bytes:
        """The robot description as a message; empty where no file is named."""
        if not (path := self.parameters.urdf):
            return b""
        try:
            text = read_bytes(Path(path), XML_MOST).decode("utf-8")
        except (OSError, OverBudget, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"urdf {path}: cannot be read ({reason})") from None
        return serialize_message(String(data=text))

    def _deactivate(self) -> None:
        self._server.interrupt(self.problem, timeout=2.0)
        self._publish_status()

    def _cleanup(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def _log_problem(self, line: str) -> None:
        self.get_logger().error(line, throttle_duration_sec=1.0)

    def _record(self, goal: RunningGoal) -> RecordEpisode.Result:
        self.require_active()
        request, recorder = goal.request, self._recorder
        info = EpisodeInfo(
            episode_id=request.episode_id or time.strftime("episode_%Y%m%dT%H%M%S"),
            task=request.task,
            protocol=request.protocol,
            first_observation_seq=request.first_observation_seq,
            translation=self.parameters.translation,
            rotation=self.parameters.rotation,
            instruction=request.instruction or request.goal.instruction,
        )
        recorder.start(info, self._checked_goal(request.goal))
        goal.feedback(RecordEpisode.Feedback())
        while (outcome := recorder.wait(POLL)) is None:
            if goal.interruption is not None:
                recorder.leave(str(goal.interruption))
            elif goal.canceled:
                self._discard(recorder)
                if (outcome := recorder.wait(0.0)) is not None and outcome.entry is not None:
                    break  # saved at the same moment
            goal.raise_if_canceled()
            status = recorder.status()
            feedback = RecordEpisode.Feedback(steps=status.steps, dropped=status.dropped)
            feedback.seconds = status.seconds
            goal.feedback(feedback)
        if outcome.error:
            raise RequestError(ErrorCode.UNAVAILABLE, outcome.error)
        return _fill(RecordEpisode.Result(steps=outcome.steps), outcome)

    def _discard(self, recorder: EpisodeRecorder) -> None:
        try:
            recorder.finish(EpisodeVerdict.DISCARD)
        except PtpError as error:  # finished at the same moment, or a fault
            self.get_logger().info(f"nothing to discard: {error}")

    def _checked_goal(self, goal: GoalMessage) -> list[tuple[BagTopic, bytes]]:
        """The goal as messages of the recording: whole, and its first image for people."""
        if goal == GoalMessage():
            return []
        kind = goal_kind(goal)
        messages = [(self._goal_topic, serialize_message(goal))]
        if kind == "image":
            for image in goal.images:
                try:
                    colour_to_array(image)
                except InputError as error:
                    raise RequestError(ErrorCode.BAD_IMAGE, f"the goal's {error}") from None
            if len(goal.cameras) not in (len(goal.images), 0) or not goal.images:
                raise RequestError(
                    ErrorCode.BAD_IMAGE,
                    f"the goal has {len(goal.images)} images and {len(goal.cameras)} names of "
                    "cameras: one name an image",
                )
            messages.append((self._goal_image, serialize_message(goal.images[0])))
        elif kind == "latent":
            try:
                latent_array(goal.latent)
            except InputError as error:
                raise RequestError(ErrorCode.BAD_LATENT, f"the goal: {error}") from None
        return messages

    def _serve(self, work: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def serve(request: Any, response: Any) -> Any:
            try:
                return await in_executor(self, self._pool.submit(work, request, response))
            except PtpError as error:
                reason: Exception = error
            except Exception as error:
                self.get_logger().error(f"unexpected\n{traceback.format_exc()}")
                reason = error
            self.get_logger().error(f"request refused: {reason}", throttle_duration_sec=1.0)
            return fill_error(response, reason)

        return serve

    def _ready(self) -> EpisodeRecorder:
        recorder = self._recorder
        if recorder is None:
            raise self.problem
        return recorder

    def _finish(self, request: FinishEpisode.Request, response: FinishEpisode.Response):
        self.require_active()
        try:
            verdict = EpisodeVerdict(request.verdict)
        except ValueError:
            raise InputError(f"verdict {request.verdict}: see FinishEpisode") from None
        outcome = self._ready().finish(
            verdict,
            request.end_reason,
            episode_id=request.episode_id,
            last_observation_seq=request.last_observation_seq,
            patience=self.parameters.patience,
        )
        if verdict not in (EpisodeVerdict.STOP, EpisodeVerdict.RERECORD):
            self._server.wait_free(timeout=2.0)  # so that the next goal is not refused
        self._show(outcome)
        return _fill(response, outcome)

    def _label(self, request: LabelEpisode.Request, response: LabelEpisode.Response):
        session = self._ready().session
        if request.label >= len(LABELS):
            raise InputError(f"label {request.label}: see EpisodeRecord")
        session.label(request.number, LABELS[request.label])
        session.drop(request.number, request.drop)
        return response

    def _get(self, request: GetEpisode.Request, response: GetEpisode.Response):
        recorder = self._ready()
        response.episodes = recorder.status().episodes
        episode, entry = recorder.episode(request.number)
        response.dropped = entry.dropped
        if episode is not None:
            response.episode = episode_record(episode)
        return response

    def _publish_step(self, episode_id: str, step: Step) -> None:
        if self.context.ok() and self._steps.get_subscription_count():
            message = step_message(self._definitions, episode_id, step)
            self._steps.publish(self._definitions.encode(message))

    def _publish_status(self) -> None:
        if not self.context.ok():
            return
        message = RecorderStatus(folder=self.parameters.folder, state=RecorderStatus.FAULT)
        message.header.stamp = self.get_clock().now().to_msg()
        recorder = self._recorder
        if recorder is not None:
            status = recorder.status()
            message.session_id = recorder.session.session_id
            message.state = int(status.state)
            for name in ("episode_id", "steps", "episodes", "dropped", "bytes_free"):
                setattr(message, name, getattr(status, name))
            if status.error:
                fill_error(message, RequestError(ErrorCode.UNAVAILABLE, status.error))
        if not self.active and message.error_code == ErrorCode.NONE:
            fill_error(message, self.problem)
            message.state = RecorderStatus.FAULT
        self._states.publish(message)

    def _show(self, outcome: Outcome) -> None:
        entry = outcome.entry
        if entry is None or not self.context.ok():
            return
        success = {"success": 1.0, "failure": 0.0}.get(entry.label, float("nan"))
        self._scalars.publish(
            {
                "episodes": entry.number + 1,
                "steps": entry.steps,
                "interventions": entry.interventions / max(entry.steps, 1),
                "success": success,
            }
        )

    def _status(self):
        if self._recorder is None or not self.active:
            return ERROR, str(self.problem), {}
        status = self._recorder.status()
        self._scalars.publish({"dropped": status.dropped})
        figures = {
            "state": status.state.name,
            "episodes": status.episodes,
            "steps": status.steps,
            "dropped": status.dropped,
            "free_mb": status.bytes_free // 10**6,
        }
        if status.state == RecorderState.RECORDING:
            self._publish_status()  # steps and free space change
        if status.error:
            return ERROR, status.error, figures
        if status.dropped:
            return WARN, "the disk is slower than the stream: messages are dropped", figures
        return OK, f"{status.state.name.lower()} {status.episode_id}".strip(), figures


def _fill(answer: Any, outcome: Outcome) -> Any:
    if outcome.entry is not None:
        answer.saved, answer.number = True, outcome.entry.number
        answer.path = str(outcome.path)
    return answer


def main() -> int:
    """Entry point."""
    return run(RecorderNode, niceness=5)
