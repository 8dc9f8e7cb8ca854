# SPDX-License-Identifier: Apache-2.0
"""Buttons of the operator: record, save and discard episodes, and set up the next scene."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import ArmState, ErrorCode, Goal, Latent, RecorderStatus
from ptp_interfaces.srv import FinishEpisode, ResetScene
from rclpy.action import ActionClient
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ptp_core.data.instruction import given_instruction
from ptp_core.errors import GoalError
from ptp_robot.teleoperation import Button
from ptp_ros.topics import (
    ARM_STATE,
    FINISH_EPISODE,
    GOAL_IMAGE,
    LATCHED,
    LATENT,
    RECORD_EPISODE,
    RECORDER_STATUS,
    RECORDS,
    RESET_SCENE,
    TELEOP_INSTRUCTION,
)

PATIENCE = 15.0  # s for an answer, until buttons count again
PREFIX = "demonstration_"  # of the episodes that were started here; others are left alone
LAG = 30  # observations by which the encoder may be late
LOOK = 0.25  # s between looks for the scene's service at the start
ANSWERS = {
    FinishEpisode.Request.SAVE_SUCCESS: "saved as success",
    FinishEpisode.Request.SAVE_FAILURE: "saved as failure",
    FinishEpisode.Request.DISCARD: "discarded",
    FinishEpisode.Request.RERECORD: "discarded; recording it again",
}
VERDICTS = {
    Button.SUCCESS: FinishEpisode.Request.SAVE_SUCCESS,
    Button.FAILURE: FinishEpisode.Request.SAVE_FAILURE,
    Button.DISCARD: FinishEpisode.Request.DISCARD,
    Button.RERECORD: FinishEpisode.Request.RERECORD,
}


@dataclass(frozen=True)
class SceneSettings:
    """What is demonstrated, and whether somebody sets the scene up."""

    tasks: tuple[str, ...]  # of the scenes in turn; copied into each episode
    protocol: str
    seed: int  # of the first scene; the next has the next
    set_up: bool  # ask for the scene: at the start, and with the button
    instruction: str = ""  # what is shown, in words; empty: the scene's own


class EpisodeButtons:
    """Sends the requests of pressed buttons to recorder and scene, one at a time; never blocks.

    Each answer is one line in the log. Buttons are ignored, with a log line, while an answer is
    awaited. Episodes of other clients, such as practice, are not ended.
    """

    def __init__(self, node: Node, settings: SceneSettings) -> None:
        self._node = node
        self._settings = settings
        self._log = node.get_logger()
        self._scene = 0  # number of the scene that is set up, from 0
        self._goal, self._scene_words = Goal(), ""
        self._words = given_instruction(settings.instruction, "the parameter instruction")
        node.create_subscription(String, TELEOP_INSTRUCTION, self._told, LATCHED)
        self._starting = ""  # episode that was asked for
        self._episode = ""  # one of ours that is recorded, or waits to be saved or discarded
        self._heard_of = ""  # whatever is recorded
        self._newest = 0  # number of the newest observation
        self._encoded = 0  # number of the newest one that is encoded
        self._awaited, self._since = "", 0.0  # what was asked for, and when
        self._record = ActionClient(node, RecordEpisode, RECORD_EPISODE)
        self._finish = node.create_client(FinishEpisode, FINISH_EPISODE)
        self._reset = node.create_client(ResetScene, RESET_SCENE)
        node.create_subscription(RecorderStatus, RECORDER_STATUS, self._heard, LATCHED)
        node.create_subscription(ArmState, ARM_STATE, self._moved, RECORDS)
        node.create_subscription(Latent, LATENT, self._seen, LATCHED)
        if settings.set_up:
            self._goals = node.create_publisher(Image, GOAL_IMAGE, LATCHED)
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._first = node.create_timer(LOOK, self._set_up_first, clock=steady)

    def press(self, button: Button) -> None:
        """Send the request of this button."""
        if self._awaited and time.monotonic() - self._since < PATIENCE:
            self._log.warning(f"{button.value}: ignored, {self._awaited} is not answered yet")
            return
        self._awaited = ""
        if button is Button.NEXT:
            button = Button.SUCCESS if self._episode else Button.START
        if button is Button.RESET:
            self._next_scene()
        elif button is Button.START:
            self._start()
        elif button is Button.RERECORD and self._settings.set_up:
            # The scene must be as it was, so the recording begins after it is set up again.
            self._end(Button.DISCARD, lambda: self._set_up(self._scene, self._start))
        else:
            self._end(button)

    # The recorder.

    def _start(self) -> None:
        if self._episode:
            self._log.error("an episode is recorded already: save or discard it first")
            return
        if not self._record.server_is_ready():
            self._log.error(f"nobody serves {RECORD_EPISODE}: is the recorder running?")
            return
        if not self._encoded or self._newest - self._encoded > LAG:
            self._log.error("no latents come in, so nothing could be learned: is the encoder up?")
            return
        name = f"{PREFIX}{time.strftime('%Y%m%dT%H%M%S')}"
        goal = RecordEpisode.Goal(episode_id=name, task=self._task(self._scene))
        goal.protocol = self._settings.protocol
        goal.goal, goal.instruction = self._goal, self._words or self._scene_words
        self._starting = name
        self._wait_for("the start of an episode")

        def recorded(feedback: Any) -> None:
            if self._starting == name:
                self._answered()
                self._starting, self._episode = "", name
                self._log.info(
                    f"recording: {goal.instruction}" if goal.instruction else "recording"
                )

        def accepted(future: Future) -> None:
            handle = future.result()
            if handle.accepted:
                handle.get_result_async().add_done_callback(ended)
            else:
                self._failed(name, "the recorder rejected it")

        def ended(future: Future) -> None:
            result = future.result().result
            if result.error_code not in (ErrorCode.NONE, ErrorCode.CANCELED):
                self._failed(name, result.error_msg)

        self._record.send_goal_async(goal, recorded).add_done_callback(accepted)

    def _failed(self, name: str, reason: str) -> None:
        if self._starting == name:
            self._starting = ""
            self._answered()
        if self._episode == name:
            self._episode = ""
        self._log.error(f"the episode is not recorded: {reason}")

    def _end(self, button: Button, then: Callable[[], None] | None = None) -> None:
        if not self._finish.service_is_ready():
            self._log.error(f"nobody serves {FINISH_EPISODE}: is the recorder running?")
            return
        if not self._episode:
            other = f"{self._heard_of} was not started here" if self._heard_of else ""
            self._log.error(f"no demonstration is recorded: {other or 'start one first'}")
            return
        verdict, name = VERDICTS[button], self._episode
        request = FinishEpisode.Request(verdict=verdict, episode_id=name, end_reason="operator")
        request.last_observation_seq = self._newest

        def answered(answer: FinishEpisode.Response) -> None:
            if answer.error_code != ErrorCode.NONE:
                self._log.error(f"{button.value}: {answer.error_msg}")
                return
            where = f"episode {answer.number} " if answer.saved else ""
            path = f": {answer.path}" if answer.saved else ""
            if self._episode == name and button is not Button.RERECORD:
                self._episode = ""
            self._log.info(f"{where}{ANSWERS[verdict]}{path}")
            if then is not None:
                then()

        self._ask(self._finish, request, button.value, answered)

    # The scene.

    def _set_up_first(self) -> None:
        if self._reset.service_is_ready():
            self._first.cancel()
            self._set_up(self._scene)

    def _next_scene(self) -> None:
        if self._episode:
            self._log.error("an episode is recorded: save or discard it before the next scene")
            return
        self._set_up(self._scene + 1)

    def _task(self, scene: int) -> str:
        return self._settings.tasks[scene % len(self._settings.tasks)]

    def _set_up(self, scene: int, then: Callable[[], None] | None = None) -> None:
        if not self._settings.set_up:
            self._log.error("scenes are not set up from here: do it by hand")
            return
        if not self._reset.service_is_ready():
            self._log.error(f"nobody serves {RESET_SCENE}: is the simulation running?")
            return
        task, protocol = self._task(scene), self._settings.protocol
        seed = self._settings.seed + scene
        request = ResetScene.Request(task=task, protocol=protocol, seed=seed)

        def answered(answer: ResetScene.Response) -> None:
            if answer.error_code != ErrorCode.NONE:
                self._log.error(f"the scene is not set up: {answer.error_msg}")
                return
            self._scene = scene
            self._goal, self._scene_words = answer.goal, answer.instruction
            self._newest = answer.observation_seq
            if self._goal.images:
                self._goals.publish(self._goal.images[0])
            self._log.info(f"scene: task {task} ({protocol}), seed {seed}")
            if then is not None:
                then()

        self._ask(self._reset, request, Button.RESET.value, answered)

    def _told(self, words: String) -> None:
        """Another instruction, for the episodes that begin from now on; empty: the scene's."""
        try:
            self._words = given_instruction(words.data, "the instruction")
        except GoalError as error:
            shown = self._words or self._scene_words or "the task"
            self._log.error(f"{error}; the next demonstrations still show: {shown}")
            return
        shown = self._words or self._scene_words
        self._log.info(f"the next demonstrations show: {shown or 'the task'}")

    # Questions and answers.

    def _ask(self, client: Any, request: Any, what: str, answered: Callable[[Any], None]) -> None:
        self._wait_for(f'"{what}"')

        def done(future: Future) -> None:
            self._answered()
            answered(future.result())

        client.call_async(request).add_done_callback(done)

    def _wait_for(self, what: str) -> None:
        self._awaited, self._since = what, time.monotonic()

    def _answered(self) -> None:
        self._awaited = ""

    def _heard(self, status: RecorderStatus) -> None:
        # Also after this node was started anew in the middle of an episode.
        self._heard_of = status.episode_id
        busy = status.state in (RecorderStatus.RECORDING, RecorderStatus.WAITING)
        ours = busy and status.episode_id.startswith(PREFIX)
        self._episode = status.episode_id if ours else ""

    def _seen(self, latent: Latent) -> None:
        if latent.error_code == ErrorCode.NONE:
            self._encoded = latent.seq

    def _moved(self, state: ArmState) -> None:
        self._newest = state.observation_seq
