# SPDX-License-Identifier: Apache-2.0
"""Buttons of a gamepad record, save and discard episodes, and set scenes up, on a real graph."""

import queue

import pytest
from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import ArmState, ErrorCode, Goal, Latent, RecorderStatus
from ptp_interfaces.srv import FinishEpisode, ResetScene
from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, Joy
from std_msgs.msg import String

from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_ros.action_server import SingleGoalServer
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import (
    ARM_STATE,
    FINISH_EPISODE,
    GOAL_IMAGE,
    JOY,
    LATCHED,
    LATENT,
    RECORD_EPISODE,
    RECORDER_STATUS,
    RECORDS,
    RESET_SCENE,
    TELEOP_INSTRUCTION,
)

A, B, X, Y, LB, RB, BACK, START = range(8)
ASKED = FinishEpisode.Request


class Counterpart(Node):
    """Serves what recorder and table serve, keeps what was asked, and writes nothing."""

    def __init__(self, context):
        super().__init__("counterpart", context=context)
        self.goals, self.finished, self.scenes = [], [], []
        self.refuse = self.recorded = ""
        self._verdicts = queue.SimpleQueue()
        self._status = self.create_publisher(RecorderStatus, RECORDER_STATUS, LATCHED)
        self._server = SingleGoalServer(self, RecordEpisode, RECORD_EPISODE, self._record)
        self.create_service(FinishEpisode, FINISH_EPISODE, self._finish)
        self.create_service(ResetScene, RESET_SCENE, self._reset)
        self._say(RecorderStatus.IDLE)

    def stop(self):
        self._verdicts.put(None)
        self._server.destroy()

    def _say(self, state):
        self.state = state
        status = RecorderStatus(state=state, episodes=len(self.finished))
        status.episode_id = self.recorded
        self._status.publish(status)

    def _record(self, goal):
        self.goals.append(goal.request)
        self.recorded = goal.request.episode_id
        self._say(RecorderStatus.RECORDING)
        goal.feedback(RecordEpisode.Feedback())
        self._verdicts.get()
        self._say(RecorderStatus.IDLE)
        return RecordEpisode.Result()

    def _finish(self, request, response):
        if self.refuse or request.episode_id != self.recorded:
            response.error_code = ErrorCode.BAD_REQUEST
            response.error_msg = self.refuse or f"{self.recorded} is recorded"
            return response
        self.finished.append(request)
        if request.verdict in (ASKED.SAVE_SUCCESS, ASKED.SAVE_FAILURE):
            response.saved, response.number, response.path = True, 7, "session/episode_7"
        if request.verdict != ASKED.RERECORD:
            self._verdicts.put(True)
        return response

    def _reset(self, request, response):
        self.scenes.append(request)
        response.observation_seq = 200 + len(self.scenes)
        response.goal = Goal(images=[Image(width=len(self.scenes))])
        return response


class Person:
    """Holds the gamepad; presses buttons long enough to be seen, and lets go."""

    def __init__(self, graph, **values):
        self.graph = graph
        self.logs = graph.logs()
        self.other = graph.add(Counterpart(graph.context))
        self.goal_images = graph.collect(Image, GOAL_IMAGE, LATCHED)
        self.states = graph.client.create_publisher(ArmState, ARM_STATE, RECORDS)
        options = parameters({"rate": 50.0, **values})
        self.node = TeleopNode(context=graph.context, parameter_overrides=options)
        graph.add(self.node)
        self.latents = graph.publisher(Latent, LATENT, LATCHED)
        self.joy = graph.publisher(Joy, JOY, qos_profile_sensor_data)

    def encode(self, seq):
        self.latents.publish(Latent(seq=seq))
        self.graph.wait(lambda: self.node._episodes._encoded == seq, "the latent to be read")

    def press(self, button):
        for pressed in ([], [button], []):
            self.joy.publish(Joy(axes=[0.0] * 6, buttons=[int(n in pressed) for n in range(8)]))

    def ask(self, button, answer, count=1):
        """Press until the answer is there; it may come late, a press may not."""
        self.press(button)
        self.graph.wait(lambda: self.logs.count(answer) >= count, f'"{answer}"')


@pytest.fixture
def person(graph):
    person = Person(graph, tasks=["A"], protocol="varied")
    graph.wait(lambda: graph.client.count_subscribers(RECORDER_STATUS), "the status' reader")
    person.encode(1)
    return person


@pytest.mark.parametrize(
    ("button", "verdict", "answer"),
    [
        (A, ASKED.SAVE_SUCCESS, "episode 7 saved as success: session/episode_7"),
        (B, ASKED.SAVE_FAILURE, "episode 7 saved as failure: session/episode_7"),
        (X, ASKED.DISCARD, "discarded"),
        (RB, ASKED.RERECORD, "discarded; recording it again"),
    ],
)
def test_an_episode_is_started_and_ended_with_buttons(person, button, verdict, answer):
    person.ask(Y, "recording")
    (goal,) = person.other.goals
    assert (goal.task, goal.protocol, goal.first_observation_seq) == ("A", "varied", 0)
    person.graph.wait(lambda: person.states.get_subscription_count(), "reader of the arm's state")
    person.states.publish(ArmState(observation_seq=41))
    person.graph.wait(lambda: person.node._episodes._newest == 41, "the state to be read")
    person.ask(button, answer)
    (request,) = person.other.finished
    assert (request.verdict, request.end_reason) == (verdict, "operator")
    assert request.last_observation_seq == 41


def test_a_second_start_and_an_end_of_nothing_are_answered(person):
    person.ask(A, "no demonstration is recorded: start one first")
    person.ask(Y, "recording")
    person.graph.wait(lambda: person.other.state == RecorderStatus.RECORDING, "the recording")
    person.ask(Y, "an episode is recorded already")
    person.other.refuse = "the disk is full: make room"
    person.ask(A, "save it as success: the disk is full: make room")
    person.other.refuse = ""
    person.ask(A, "saved as success")
    assert len(person.other.goals) == 1


def test_on_a_robot_nobody_sets_the_scene_up(person):
    person.ask(BACK, "scenes are not set up from here: do it by hand")
    assert person.other.scenes == []


def test_episodes_of_others_are_not_ended_and_ours_are_also_after_a_restart(person):
    for name, count in (("run/task_A_episode_0", 0), ("demonstration_before", 1)):
        person.other.recorded = name
        person.other._say(RecorderStatus.RECORDING)
        person.graph.wait(
            lambda: person.node._episodes._heard_of == name,  # noqa: B023
            "the status to be read",
        )
        person.ask(A, "saved as success" if count else f"{name} was not started here")
        assert len(person.other.finished) == count
    assert person.other.finished[0].episode_id == "demonstration_before"


def test_nothing_is_recorded_while_the_encoder_is_silent(person):
    person.states.publish(ArmState(observation_seq=500))
    person.graph.wait(lambda: person.node._episodes._newest == 500, "the state to be read")
    person.ask(Y, "no latents come in")
    person.latents.publish(Latent(seq=499, error_code=ErrorCode.NOT_ACTIVE))
    person.ask(Y, "no latents come in", count=2)
    assert person.other.goals == []
    person.encode(499)
    person.ask(Y, "recording")


def test_without_a_recorder_one_line_says_so(graph):
    person = Person(graph)
    graph.remove(person.other)
    for button, name in ((Y, RECORD_EPISODE), (A, FINISH_EPISODE)):

        def asked(button=button, name=name):
            person.press(button)
            return person.logs.count(f"nobody serves {name}", Log.ERROR)

        graph.wait(asked, name)


def test_scenes_are_set_up_at_the_start_with_the_next_seed_and_again_for_the_same_episode(graph):
    person = Person(graph, tasks=["B", "C"], protocol="paper", seed=4, set_up=True)
    person.logs.expect("scene: task B (paper), seed 4")
    person.encode(200)
    person.ask(BACK, "scene: task C (paper), seed 5")
    person.ask(Y, "recording")
    assert person.other.goals[0].goal.images[0].width == 2
    person.ask(BACK, "save or discard it before the next scene")
    person.ask(RB, "recording", count=2)  # discarded, set up again, and recorded again
    assert [scene.seed for scene in person.other.scenes] == [4, 5, 5]
    assert [request.verdict for request in person.other.finished] == [ASKED.DISCARD]
    assert person.other.goals[1].goal.images[0].width == 3
    person.ask(A, "saved as success")
    graph.wait(lambda: len(person.goal_images) == 3, "the goal images")
    assert [scene.task for scene in person.other.scenes] == ["B", "C", "C"]
    assert [goal.task for goal in person.other.goals] == ["C", "C"]


def test_what_is_shown_is_recorded_and_can_be_said_anew_between_episodes(graph):
    person = Person(graph, tasks=["A"], instruction="  open the drawer ")
    graph.wait(lambda: graph.client.count_subscribers(RECORDER_STATUS), "the status' reader")
    words = graph.publisher(String, TELEOP_INSTRUCTION, LATCHED)
    person.encode(1)
    person.ask(Y, "recording: open the drawer")
    words.publish(String(data="close the drawer"))
    graph.wait(lambda: person.logs.count("demonstrations show: close the drawer"), "the words")
    person.ask(A, "saved as success")
    person.ask(Y, "recording: close the drawer")
    person.ask(A, "saved as success", 2)
    words.publish(String(data="x" * 401))
    graph.wait(lambda: person.logs.count("401 characters; 400 are allowed"), "the refusal")
    words.publish(String(data=""))
    graph.wait(lambda: person.logs.count("demonstrations show: the task"), "no words")
    person.ask(Y, "recording", 3)
    said = [goal.instruction for goal in person.other.goals]
    assert said == ["open the drawer", "close the drawer", ""]
