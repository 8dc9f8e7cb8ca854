# SPDX-License-Identifier: Apache-2.0
"""Node: runs practice of tasks. Only this node knows episodes and tasks."""

from __future__ import annotations

import math
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from ptp_interfaces.action import PlanSubgoals, ReachGoal
from ptp_interfaces.msg import ArmState, EpisodeStatus, ErrorCode, Goal, Latent, SubgoalPlan
from ptp_interfaces.srv import EncodeImage, JudgeEpisode, ResetScene
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ptp_core.agents.registry import DEFAULT_METHOD, METHOD_HELP, agent_names
from ptp_core.errors import ConfigError, InputError, quoted
from ptp_core.rollout.episode_results import MAX_STEPS
from ptp_nodes.episodes.recorder_client import RecorderClient
from ptp_nodes.operator.goal_files import read_goal_image
from ptp_nodes.policy.readiness import (
    ActiveNodes,
    ArmReady,
    HeartbeatPublisher,
    LearnerBackpressure,
)
from ptp_nodes.practice.practice_loop import (
    STATES,
    Acted,
    EpisodeOutcome,
    PracticeLoop,
    RunSettings,
    ScheduledEpisode,
)
from ptp_nodes.practice.practice_metrics import NAMES, NONE, SIGNALS, PlanOutcome, PracticeMetrics
from ptp_ros.blocking_client import Caller
from ptp_ros.diagnostics import ERROR, OK, Diagnostics, Scalars
from ptp_ros.image_messages import array_to_image
from ptp_ros.node_main import run
from ptp_ros.parameters import declare, parameter
from ptp_ros.request_errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import (
    ARM_STATE,
    CAMERA_FRAME,
    ENCODE_IMAGE,
    EPISODE,
    GOAL_IMAGE,
    INSTRUCTION,
    JUDGE_EPISODE,
    KEPT,
    LATCHED,
    LATENT,
    PLAN_SUBGOALS,
    REACH_GOAL,
    RESET_SCENE,
)

PROGRESS_PERIOD = 2.0  # s between lines on the way

# How the agent is told the goal.
LATENT_KIND, IMAGE_KIND, LANGUAGE_KIND = "latent", "image", "language"


PROTOCOLS = (
    *("paper", "varied", "shifted"),
    *("shifted_poses", "shifted_colours", "shifted_bodies"),
    *("distractors", "backgrounds"),
)


@dataclass(frozen=True)
class PracticeParameters:
    """Parameters of the practice node."""

    tasks: tuple[str, ...] = parameter(("A",), "tasks to practise in turn: A to F on the table")
    protocol: str = parameter(
        "paper",
        "paper: the authors' fixed scenes; varied: everything moved a little; shifted: outside of "
        "what demonstrations show",
        choices=PROTOCOLS,
    )
    method: str = parameter(DEFAULT_METHOD, METHOD_HELP, choices=agent_names)
    episodes: int = parameter(1, "episodes of each task", minimum=1)
    seed: int = parameter(0, "of scenes, plans and actions", minimum=0)
    max_steps: tuple[int, ...] = parameter(
        (MAX_STEPS,), "control steps an episode: one number, or one for each of the tasks"
    )
    preset: str = parameter("", "planner settings; empty: the planner's own")
    goal_image: str = parameter(
        "",
        "goal file (ptp goal capture), PNG or JPEG of the goal instead of the scene's own "
        "image; success is still judged by the scene's",
    )
    goal_kind: str = parameter(
        LATENT_KIND,
        "how the agent is told the goal; latent: encoded, and planned by the planner node; image, "
        "language: as it is, and the agent plans for itself",
        choices=(LATENT_KIND, IMAGE_KIND, LANGUAGE_KIND),
    )
    instruction: str = parameter(
        "",
        "what the agent is told to do, with goal_kind language; empty: the scene's own words. "
        "Success is judged by the scene's own task, so what is recorded gets no label",
    )
    output: str = parameter("", "folder for summary.json; empty: none is written")
    resume: bool = parameter(False, "go on with what an earlier run left over in output")
    success_signal: str = parameter(
        NONE,
        "what the planner's plan library is told of an episode's end; none: nothing; simulator: "
        "PRIVILEGED, the verdict on the scene; latent: whether the last latent is near the "
        "goal's; classifier: whether the goal classifier says that its work is done",
        choices=SIGNALS,
    )
    checkpoint: str = parameter(
        "", "folder of the checkpoint; for success_signal latent and classifier"
    )
    use_recorder: bool = parameter(False, "let the recorder node keep each episode")
    most_due: int = parameter(
        0,
        "gradient steps that the learner may be behind when an episode begins; 0: any",
        minimum=0,
    )
    await_arm: bool = parameter(
        False, "begin an episode only when arm_driver says that the arm is enabled"
    )
    patience: float = parameter(
        60.0, "s to wait for a node to appear and for quick answers", minimum=0.1
    )
    scene_patience: float = parameter(
        0.0,
        "s that setting up or judging the scene may take, where a person does it; 0: patience",
        minimum=0.0,
    )
    plan_patience: float = parameter(900.0, "s that a plan may take", minimum=1.0)
    silence: float = parameter(
        60.0, "s without news from planner or policy until they count as dead", minimum=1.0
    )
    max_failures: int = parameter(3, "episodes failing in a row until giving up", minimum=1)
    stay: bool = parameter(False, "stay after the last episode instead of ending the process")

    def run_settings(self) -> RunSettings:
        """What `PracticeLoop` needs of them. Raises ConfigError for unusable numbers of steps."""
        if len(self.max_steps) not in (1, len(self.tasks)) or min(self.max_steps) < 1:
            raise ConfigError(
                f"practice: max_steps is {list(self.max_steps)}; it must be one number of at "
                "least 1, or one for each of the tasks"
            )
        names = [field.name for field in fields(RunSettings)]
        return RunSettings(**{name: getattr(self, name) for name in names})


class PracticeNode(Node):
    """Runs `PracticeLoop` in a thread, over the services and actions of the other nodes."""

    def __init__(self, **options: Any) -> None:
        super().__init__("practice", **options)
        self._settings = settings = declare(self, PracticeParameters)
        self.exit_code = 1
        self._caller = Caller(self)
        self._streams = Streams(self)
        self._reset_client = self.create_client(ResetScene, RESET_SCENE)
        self._judge_client = self.create_client(JudgeEpisode, JUDGE_EPISODE)
        self._encode_client = self.create_client(EncodeImage, ENCODE_IMAGE)
        self._plan_client = ActionClient(self, PlanSubgoals, PLAN_SUBGOALS)
        self._reach_client = ActionClient(self, ReachGoal, REACH_GOAL)
        self._goals = self.create_publisher(Image, GOAL_IMAGE, LATCHED)
        self._statuses = self.create_publisher(EpisodeStatus, EPISODE, LATCHED)
        self._streams.subscribe(Latent, LATENT, self._latent_arrived, LATCHED)
        self._streams.subscribe(ArmState, ARM_STATE, self._state_arrived, KEPT)
        self._streams.subscribe(String, INSTRUCTION, self._instruction_arrived, LATCHED)
        self._scalars = Scalars(self, *NAMES)
        self._tally = PracticeMetrics()
        self._recording = (
            RecorderClient(self, self._caller, settings.patience)
            if settings.use_recorder
            else None
        )
        self._pace = LearnerBackpressure(self, self._caller, settings.most_due)
        self.await_active = ActiveNodes(self, self._caller).wait
        self._arm_ready = ArmReady(self, self._caller, settings.await_arm)
        self._lock = threading.Lock()
        self._latent, self._goal_latent = Latent(), Latent()
        self._arm_seq = 0
        self._acting = False
        self._others = False  # whether the agent pursues another goal than that of the scene
        self._awaited: float = 0  # the observation whose news somebody waits for
        self._latencies: list[float] = []
        self._last_line = 0.0
        self._outcome = PlanOutcome(self, settings.success_signal, settings.checkpoint)
        self._run = PracticeLoop(
            settings.run_settings(),
            self,
            self._report,
            Path(settings.output) if settings.output else None,
        )
        self._run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{settings.seed}"
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="practice")
        self._episode_id = ""
        self._signs = HeartbeatPublisher(self, lambda: self._episode_id)
        Diagnostics(self, self._status)

    def start(self) -> None:
        """Begin the run in its thread."""
        self._streams.start()
        self._pool.submit(self._practise)

    def stop(self) -> None:
        """End the run and its thread."""
        self._caller.stop()
        self._pool.shutdown(wait=True)
        self._signs.stop()
        self._streams.stop()

    def _practise(self) -> None:
        logger = self.get_logger()
        try:
            clean = self._run.run()
            self.exit_code = 0 if clean else 1
            logger.info(
                f"finished: {self._run.successes} of {self._run.done} episodes succeeded, "
                f"{len(self._run.failures)} failed for technical reasons"
            )
        except RequestError as error:
            logger.info(f"stopped: {error}")
        except Exception:
            logger.fatal(f"unexpected\n{traceback.format_exc()}")
        if not self._settings.stay:
            rclpy.try_shutdown(context=self.context)

    # What PracticeLoop asks for.

    def reset(self, task: str, protocol: str, seed: int) -> None:
        """Set up the scene and show the goal."""
        self._pace.wait()
        self._arm_ready.wait()
        request = ResetScene.Request(task=task, protocol=protocol, seed=seed)
        response = self._ask_scene(self._reset_client, request)
        self._first_seq = self._last_seq = self._awaited = response.observation_seq
        self._wanted, self._instruction = response.goal, response.instruction
        self._others = False
        if own := self._settings.instruction:
            self._others = own.strip() != self._instruction.strip()
            self._instruction = own
        if self._settings.goal_image:
            try:
                pixels = read_goal_image(self._settings.goal_image)
            except InputError as error:
                raise RequestError(ErrorCode.BAD_IMAGE, str(error)) from error
            now = self.get_clock().now().to_msg()
            self._wanted = Goal(images=[array_to_image(pixels, now, CAMERA_FRAME)])
        # Who is told in words does not see the goal image: a viewer shows what it predicts.
        if self._wanted.images and self._settings.goal_kind != LANGUAGE_KIND:
            self._goals.publish(self._wanted.images[0])

    def encode(self) -> None:
        """Encode goal and first observation, where the agent is asked by latents."""
        kind = self._settings.goal_kind
        if kind == LANGUAGE_KIND:
            self._goal = Goal(instruction=self._instruction)
            if not self._instruction.strip():
                raise RequestError(
                    ErrorCode.BAD_REQUEST,
                    f"this scene has no instruction, which {self._settings.method} needs: say "
                    "what to do (goal:=), or choose another agent",
                )
        elif kind == IMAGE_KIND:
            self._goal = self._wanted
            if not self._wanted.images:
                raise RequestError(
                    ErrorCode.BAD_REQUEST,
                    f"this scene has no goal image, which {self._settings.method} needs: give "
                    "one (goal_image:=), or choose another agent",
                )
        if kind != LATENT_KIND:
            self._awaited = math.inf
            return
        request = EncodeImage.Request(cameras=self._wanted.cameras, images=self._wanted.images)
        request.resize = bool(self._settings.goal_image)
        response = self._caller.service(self._encode_client, request, self._settings.patience)
        self._goal_latent = response.latent
        self._goal = Goal(latent=response.latent.latent)
        self._start = self._latent_of(self._first_seq)
        self._awaited = math.inf  # what comes while the arm acts wakes nobody
        if self._start.error_code != ErrorCode.NONE:
            raise RequestError(self._start.error_code, self._start.error_msg)

    def plan(self, seed: int) -> tuple[float, float]:
        """Find subgoals; seconds and cost."""
        goal = PlanSubgoals.Goal(
            episode_id=self._episode_id,
            start=self._start.latent,
            goal=self._goal,
            seed=seed,
            preset=self._settings.preset,
        )

        def progress(feedback: PlanSubgoals.Feedback) -> None:
            self._line(
                f"planning: level {feedback.level + 1} of {feedback.levels}, iteration "
                f"{feedback.iteration + 1} of {feedback.iterations}, cost {feedback.best_cost:.3f}"
            )

        self._plan = self._caller.action(
            self._plan_client,
            PLAN_SUBGOALS,
            goal,
            self._settings.plan_patience,
            progress,
            self._settings.silence,
        ).plan
        return self._plan.seconds, self._plan.cost

    def record(self, episode: ScheduledEpisode) -> None:
        """Begin to record."""
        if self._recording is not None:
            self._recording.begin(
                self._episode_id,
                episode.task,
                self._settings.protocol,
                self._wanted,
                self._instruction,
                self._first_seq,
            )

    def save(self, success: bool | None) -> None:
        """Save what was recorded."""
        if self._others and success is not None:
            self.get_logger().warning(
                "the verdict is on the task of the scene, not on what the agent was told"
            )
        if self._recording is not None:
            number = self._recording.save(success, self._last_seq, label=not self._others)
            self.get_logger().info(f"recorded as number {number}")

    def tell(self, judged: bool) -> None:
        """Tell the planner how its plan ended, by the success signal."""
        last = partial(self._latent_of, self._last_seq)
        self._outcome.tell(self._episode_id, judged, last, self._goal_latent)

    def act(self, seed: int, max_steps: int, planned: bool) -> Acted:
        """Follow the plan, or let the agent go about it by itself, to the last step."""
        self._tally.begin()
        alone = (
            ReachGoal.Goal.PURSUE_GOAL
            if self._settings.goal_kind == LATENT_KIND
            else ReachGoal.Goal.PLAN_ITSELF
        )
        goal = ReachGoal.Goal(
            episode_id=self._episode_id,
            goal=self._goal,
            planning=ReachGoal.Goal.PURSUE_PLAN if planned else alone,
            plan=self._plan if planned else SubgoalPlan(),
            seed=seed,
            max_steps=max_steps,
            first_observation_seq=self._first_seq,
        )
        with self._lock:
            self._latencies = []

        def progress(feedback: ReachGoal.Feedback) -> None:
            of = f" of {goal.plan.count + 1}" if planned else ""
            self._line(
                f"acting: step {feedback.step} of {max_steps}, subgoal "
                f"{feedback.subgoal_index + 1}{of}, distance {feedback.distance:.2f}"
            )

        # A step may take as long as the policy waits for an observation.
        patience = self._settings.patience + max_steps * 1.0
        self._acting = True
        try:
            result = self._caller.action(
                self._reach_client, REACH_GOAL, goal, patience, progress, self._settings.silence
            )
        finally:
            self._acting = False
        # The last command may still be on its way to the arm.
        self._last_seq = self._awaited = result.last_observation_seq + 1
        self._caller.until(
            lambda: self._arm_seq >= self._last_seq,
            self._settings.patience,
            f"the arm state of observation {self._last_seq}",
        )
        with self._lock:
            latencies = np.array(self._latencies)
        return Acted(
            result.steps,
            result.subgoals_reached,
            result.subgoals_timed_out,
            result.distance,
            latencies,
        )

    def judge(self) -> EpisodeOutcome:
        """Judge the last observation."""
        request = JudgeEpisode.Request(observation_seq=self._last_seq)
        response = self._ask_scene(self._judge_client, request)
        first = response.first_success if response.first_success >= 0 else None
        return EpisodeOutcome(response.success, first)

    def _ask_scene(self, client: Client, request: Any) -> Any:
        """Response of who sets up and judges the scene: a person may take their time."""
        patience = self._settings.patience
        return self._caller.service(
            client, request, self._settings.scene_patience or patience, appears=patience
        )

    def _latent_of(self, seq: int) -> Latent:
        """The latent of observation ``seq``, or a later one."""
        what, patience = f"the latent of observation {seq}", self._settings.patience
        self._caller.until(lambda: self._newest().seq >= seq, patience, what)
        return self._newest()

    # Callbacks.

    def _latent_arrived(self, latent: Latent) -> None:
        with self._lock:
            self._latent = latent
        if latent.seq >= self._awaited:
            self._caller.notify()

    def _instruction_arrived(self, words: String) -> None:
        # Latched: what an earlier episode was told may come first.
        if self._acting and words.data != self._goal.instruction:
            self._others = True
            self.get_logger().info(f"the agent was told another goal: {quoted(words.data)}")

    def _newest(self) -> Latent:
        with self._lock:
            return self._latent

    def _state_arrived(self, state: ArmState) -> None:
        self._tally.moved(state)
        with self._lock:
            self._arm_seq = state.observation_seq
            if state.latency > 0.0:
                self._latencies.append(state.latency)
        if state.observation_seq >= self._awaited:
            self._caller.notify()

    # Reports.

    def _line(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last_line >= PROGRESS_PERIOD:
            self._last_line = now
            self.get_logger().info(text)

    def _report(self, state: int, episode: ScheduledEpisode | None, **fields: Any) -> None:
        settings, run_ = self._settings, self._run
        status = EpisodeStatus(
            run_id=self._run_id,
            episodes_total=run_.total,
            protocol=settings.protocol,
            method=settings.method,
            state=state,
            episodes_done=run_.done,
            successes=run_.successes,
            **fields,
        )
        status.header.stamp = self.get_clock().now().to_msg()
        if episode is not None:
            status.episode, status.task = episode.number, episode.task
            status.seed = episode.seeds.env
            status.episode_id = self._episode_id = f"{self._run_id}/{episode.name}"
            where = f"episode {episode.number + 1} of {run_.total}, task {episode.task}"
            if state in STATES:
                self.get_logger().info(f"{where}: {STATES[state]}")
            elif state == EpisodeStatus.JUDGED:
                self._scalars.publish(self._tally.judged(status.success))
                verdict = "success" if status.success else "no success"
                self.get_logger().info(
                    f"{where}: {verdict} after {status.steps} steps "
                    f"({run_.successes} of {run_.done})"
                )
            else:
                self.get_logger().error(f"{where} failed: {status.error_msg}")
        self._statuses.publish(status)

    def _status(self):
        figures = {
            "episodes_done": self._run.done,
            "successes": self._run.successes,
            "failures": len(self._run.failures),
            **self._scalars.newest(),
        }
        if self._run.failures:
            return ERROR, self._run.failures[-1]["error_msg"], figures
        return OK, f"{self._run.done} of {self._run.total} episodes", figures


def main() -> int:
    """Entry point."""
    return run(PracticeNode)
