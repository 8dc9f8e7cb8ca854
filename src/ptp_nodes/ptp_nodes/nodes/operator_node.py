# SPDX-License-Identifier: Apache-2.0
"""Node: the operator sets up scenes of a real table and does the success checks."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptp_interfaces.msg import ArmState, DriverState, ErrorCode, Observation
from ptp_interfaces.msg import Goal as GoalMessage
from ptp_interfaces.srv import JudgeEpisode, ResetScene
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import InputError, PtpError
from ptp_nodes.operator.goal_files import FOLDER, GoalFile, find_goal
from ptp_nodes.operator.operator_dialog import (
    HOMES,
    OperatorAnswer,
    OperatorDialog,
    OperatorView,
    RequestRunner,
)
from ptp_nodes.operator.operator_inputs import AnswerButtons, AnswerKeys, AnswerServices
from ptp_robot.teleoperation import GamepadMapping
from ptp_ros.blocking_client import Caller
from ptp_ros.diagnostics import OK, WARN, Diagnostics
from ptp_ros.image_messages import array_to_image
from ptp_ros.node_main import run
from ptp_ros.parameters import declare, parameter
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.streams import Streams
from ptp_ros.topics import (
    ARM_STATE,
    CAMERA_FRAME,
    DRIVER_STATE,
    JUDGE_EPISODE,
    LATCHED,
    OBSERVATION,
    OPERATOR_PROMPT,
    RECORDS,
    RESET_POSE,
    RESET_SCENE,
)
from ptp_ros.worker import in_executor

PAD = GamepadMapping()


@dataclass(frozen=True)
class OperatorParameters:
    """Parameters of the operator node."""

    goals: str = parameter(FOLDER, "folder of the goal files that ptp goal capture takes")
    goal: str = parameter(
        "", "goal of every task: a name in that folder, or a .npz; empty: named like the task"
    )
    home: bool = parameter(True, "send the arm home before a scene is arranged")
    home_patience: float = parameter(30.0, "s for the way home", minimum=1.0)
    image_patience: float = parameter(
        5.0, "s for a new image once the scene is arranged", minimum=0.1
    )
    remind: float = parameter(15.0, "s between reminders of what is asked", minimum=1.0)
    tty: str = parameter(
        "", "terminal whose keys answer: Enter confirms, s success, f failure; empty: none"
    )
    gamepad: bool = parameter(True, "let a gamepad's buttons answer, too")
    button_dead_man: int = parameter(
        PAD.button_dead_man, "while it is held, buttons are no answers", minimum=0
    )
    button_confirm: int = parameter(PAD.button_start, "the scene is arranged", minimum=0)
    button_success: int = parameter(PAD.button_success, "the goal is reached", minimum=0)
    button_failure: int = parameter(PAD.button_failure, "it is not; or give up", minimum=0)

    def mapping(self) -> GamepadMapping:
        """The gamepad's buttons. Raises InputError where two coincide."""
        return GamepadMapping(
            button_dead_man=self.button_dead_man,
            button_start=self.button_confirm,
            button_success=self.button_success,
            button_failure=self.button_failure,
        )


DRIVER_PATIENCE = 5.0  # s for the driver's answer
DRIVER_BEAT = 0.3  # s after which it has told of itself anew, which it does at 10 Hz
DRIVER_STATES = {
    getattr(DriverState, name): name
    for name in (
        *("DISCONNECTED", "DISABLED", "READY", "ACTIVE", "INTERVENTION", "HOLD", "RESETTING"),
        "FAULT",
    )
}


class OperatorNode(Node):
    """Serves `reset_scene` and `judge_episode` with the operator's actions and answers.

    A repeated request waits for the same answer. If it is repeated because its answer got lost, it
    gets that answer: the same scene, if the arm has not moved since; the same result of the
    success check, for the same observation. Another request replaces the running one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("operator", **options)
        self._settings = settings = declare(self, OperatorParameters)
        self._caller = Caller(self)
        self._view = OperatorView(self._caller.notify)
        self._dialog = OperatorDialog(self._asked)
        self._requests = RequestRunner(self._withdraw)
        self._scene: tuple[str, str, int] | None = None  # task, protocol, seed: set up, untouched
        self._goal_name = ""  # of the scene that was set up last; empty: none was
        self._verdict: JudgeEpisode.Response | None = None  # of this scene
        self._verdict_for = 0
        self._streams = Streams(self)
        self._streams.subscribe(Observation, OBSERVATION, self._view.observed, LATCHED)
        self._streams.subscribe(ArmState, ARM_STATE, self._view.stepped, RECORDS)
        self._streams.subscribe(DriverState, DRIVER_STATE, self._view.drove, LATCHED)
        self._home = self.create_client(Trigger, RESET_POSE)
        self._prompts = self.create_publisher(String, OPERATOR_PROMPT, LATCHED)
        AnswerServices(self, self._dialog)
        if settings.gamepad:
            self._buttons = AnswerButtons(self, self._dialog, settings.mapping())
        self._keys = AnswerKeys(self, self._dialog, settings.tty) if settings.tty else None
        # Reentrant: a request that waits for the person must not keep the others out.
        several = ReentrantCallbackGroup()
        for kind, name, serve in (
            (ResetScene, RESET_SCENE, self._serve(self._scene_key, self._set_up)),
            (JudgeEpisode, JUDGE_EPISODE, self._serve(self._episode_key, self._judge)),
        ):
            self.create_service(kind, name, serve, callback_group=several)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(settings.remind, self._remind, clock=steady)
        Diagnostics(self, self._status)

    def start(self) -> None:
        """Look at the graph."""
        self._streams.start()
        self._prompts.publish(String())

    def stop(self) -> None:
        """Ask nobody any more."""
        self._caller.stop()
        self._requests.stop()
        self._streams.stop()
        if self._keys is not None:
            self._keys.close()

    # Requests.

    def _serve(self, key: Callable[[Any], Any], work: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Any, response: Any) -> Any:
            try:
                future = self._requests.take(key(request), lambda gone: work(request, gone))
                return await in_executor(self, future)
            except PtpError as error:
                reason: Exception = error
                self.get_logger().error(f"request refused: {error}", throttle_duration_sec=1.0)
            except Exception as error:
                reason = error
                self.get_logger().error(f"unexpected\n{traceback.format_exc()}")
            return fill_error(response, reason)

        return serve

    @staticmethod
    def _scene_key(request: ResetScene.Request) -> tuple:
        return (request.task, request.protocol, request.seed)

    @staticmethod
    def _episode_key(request: JudgeEpisode.Request) -> tuple:
        return (request.observation_seq,)

    def _set_up(self, request: ResetScene.Request, gone: threading.Event) -> ResetScene.Response:
        name, goal = self._goal_of(request.task)
        scene = self._scene_key(request)
        if self._scene != scene or self._view.moved:
            self._scene, self._goal_name = None, ""
            if self._settings.home:
                self._go_home(gone)
            note = f" ({goal.note})" if goal.note else ""
            self._confirm(
                f"arrange the scene: task {request.task}, goal {name}{note}, scene "
                f"{request.seed}; step back, then confirm",
                gone,
            )
        seq = self._next_image(gone)
        self._scene, self._goal_name = scene, name
        self._verdict = None
        self._view.begin()
        rate = self._view.rate
        self.get_logger().info(
            f"task {request.task}, goal {name}: observation {seq}, {rate:.1f} Hz"
        )
        stamp = self.get_clock().now().to_msg()
        return ResetScene.Response(
            goal=GoalMessage(
                cameras=[CAMERA], images=[array_to_image(goal.image, stamp, CAMERA_FRAME)]
            ),
            instruction=goal.note,
            observation_seq=seq,
            control_rate=rate,
        )

    def _goal_of(self, task: str) -> tuple[str, GoalFile]:
        name = self._settings.goal or task
        try:
            return name, find_goal(self._settings.goals, name)
        except InputError as error:
            raise RequestError(ErrorCode.BAD_REQUEST, str(error)) from error

    def _judge(
        self, request: JudgeEpisode.Request, gone: threading.Event
    ) -> JudgeEpisode.Response:
        newest, steps = self._view.newest, self._view.moved
        if not self._goal_name:
            raise RequestError(ErrorCode.BAD_REQUEST, "no episode to judge: ask for a scene first")
        if newest < request.observation_seq:
            raise RequestError(
                ErrorCode.BAD_REQUEST,
                f"observation {request.observation_seq} is yet to come, {newest} is the newest: "
                "wait for the arm state that shows it",
            )
        if self._verdict is None or self._verdict_for != request.observation_seq:
            text = f"does the table look like the goal {self._goal_name}? success or failure"
            answer = self._dialog.ask(text, (OperatorAnswer.SUCCESS, OperatorAnswer.FAILURE), gone)
            success = answer is OperatorAnswer.SUCCESS
            self._verdict_for = request.observation_seq
            self._verdict = JudgeEpisode.Response(
                success=success,
                steps=steps,
                first_success=steps if success else -1,  # a person looks at the end only
                observation_seq=self._view.newest,
                check_names=["operator"],
                check_values=[success],
            )
        self._scene = None
        return self._verdict

    # What it takes.

    def _confirm(self, text: str, gone: threading.Event) -> None:
        """Return when the person has done what ``text`` says. RequestError when they give up."""
        answer = self._dialog.ask(text, (OperatorAnswer.CONFIRM, OperatorAnswer.FAILURE), gone)
        if answer is OperatorAnswer.FAILURE:
            raise RequestError(ErrorCode.CANCELED, "the operator gave this scene up")

    def _go_home(self, gone: threading.Event) -> None:
        while problem := self._way_home(gone):
            self._confirm(
                f"the arm is not home: {problem}. Put that right, then confirm to try again", gone
            )

    def _way_home(self, gone: threading.Event) -> str:
        """Send the arm home; why it is not there, or an empty text."""
        try:
            self._caller.trigger(self._home, DRIVER_PATIENCE)
        except RequestError as error:
            if error.code == ErrorCode.SHUTTING_DOWN:
                raise
            return str(error)
        if self._view.driver() is None and not self.count_publishers(DRIVER_STATE):
            return ""  # a driver that answers when it is done
        heard = time.monotonic() + DRIVER_BEAT

        def arrived() -> bool:
            driver = self._view.driver(heard)
            return driver is not None and driver.state != DriverState.RESETTING

        if self._waited(arrived, self._settings.home_patience, gone):
            driver = self._view.driver()
            if driver.state in HOMES:
                return ""
            return f"it is {DRIVER_STATES.get(driver.state, driver.state)} ({driver.reason})"
        if self._view.driver(heard) is None:
            return f"{DRIVER_STATE} fell silent: is the arm's driver running?"
        return f"it is still on its way after {self._settings.home_patience:g} s"

    def _next_image(self, gone: threading.Event) -> int:
        """Number of an image that was taken from now on, once the rate is known."""
        patience = self._settings.image_patience
        while not self._waited(self._view.something_new(), patience, gone):
            self._confirm(
                f"no new image for {patience:g} s: look at the camera, then confirm", gone
            )
        return self._view.newest

    def _waited(
        self, condition: Callable[[], bool], seconds: float, gone: threading.Event
    ) -> bool:
        """Whether it came to hold in time. RequestError when nobody waits any more."""
        try:
            self._caller.until(lambda: gone.is_set() or condition(), seconds, "it")
        except RequestError as error:
            if error.code == ErrorCode.SHUTTING_DOWN:
                raise
            return False
        if gone.is_set():
            raise RequestError(ErrorCode.CANCELED, "nobody waits for the answer any more")
        return True

    # Signs of waiting.

    def _withdraw(self) -> None:
        self._dialog.wake()
        self._caller.notify()

    def _asked(self) -> None:
        question = self._dialog.question
        self._prompts.publish(String(data=question.text if question is not None else ""))
        if question is not None:
            self.get_logger().warning(f"{question.text} [{self._ways(question.answers)}]")

    def _ways(self, answers: tuple[OperatorAnswer, ...]) -> str:
        settings = self._settings
        keys = {
            OperatorAnswer.CONFIRM: "Enter",
            OperatorAnswer.SUCCESS: "s",
            OperatorAnswer.FAILURE: "f",
        }
        buttons = {
            OperatorAnswer.CONFIRM: settings.button_confirm,
            OperatorAnswer.SUCCESS: settings.button_success,
            OperatorAnswer.FAILURE: settings.button_failure,
        }
        words = []
        for answer in answers:
            ways = [f"operator/{answer.value}"]
            if settings.tty:
                ways.append(f"key {keys[answer]}")
            if settings.gamepad:
                ways.append(f"button {buttons[answer]}")
            words.append(f"{answer.value}: {', '.join(ways)}")
        return "; ".join(words)

    def _remind(self) -> None:
        question = self._dialog.question
        if question is None:
            return
        waited = time.monotonic() - question.since
        if waited >= self._settings.remind:
            self.get_logger().info(f"waiting for a person for {waited:.0f} s: {question.text}")

    def _status(self):
        figures = {
            "goal": self._goal_name or "none",
            "observation": self._view.newest,
            "camera_rate": self._view.rate,
            "steps": self._view.moved,
            "joined": self._requests.joined,
            "replaced": self._requests.replaced,
        }
        question = self._dialog.question
        if question is not None:
            waited = time.monotonic() - question.since
            return WARN, f"waiting for a person for {waited:.0f} s: {question.text}", figures
        return OK, "nothing is asked", figures


def main() -> int:
    """Entry point."""
    return run(OperatorNode)
