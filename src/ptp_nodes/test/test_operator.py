# SPDX-License-Identifier: Apache-2.0
"""A person sets up and judges scenes: asked once, however often the request comes."""

import os
import pty

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from ptp_interfaces.msg import ArmState, DriverState, ErrorCode, Observation
from ptp_interfaces.srv import JudgeEpisode, ResetScene
from rcl_interfaces.msg import Log
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ptp_nodes.nodes.operator_node import OperatorNode
from ptp_nodes.nodes.practice_node import PracticeNode
from ptp_nodes.operator.goal_files import GoalFile, save_goal
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import array_to_image, image_to_array
from ptp_ros.topics import (
    ARM_STATE,
    DRIVER_STATE,
    JOY,
    JUDGE_EPISODE,
    KEPT,
    LATCHED,
    OBSERVATION,
    OPERATOR_PROMPT,
    RESET_POSE,
    RESET_SCENE,
    STREAM,
)

RATE = 20.0  # Hz
ARRANGE = "arrange the scene: task A, goal A (cup left), scene 5"


class Lab(Node):
    """Camera and arm driver of a real table. ``homes``: what the driver answers, in turn."""

    def __init__(self, context):
        super().__init__("lab", context=context)
        self.homes, self.way = [], [DriverState.RESETTING, DriverState.READY]
        self.asked, self.seq, self.shows = 0, 100, True
        self.driver = self.create_publisher(DriverState, DRIVER_STATE, LATCHED)
        self.observations = self.create_publisher(Observation, OBSERVATION, STREAM)
        self.arms = self.create_publisher(ArmState, ARM_STATE, KEPT)
        self.create_service(Trigger, RESET_POSE, self.go_home)
        self.create_timer(1.0 / RATE, self.tick)
        self.states = []

    def go_home(self, request, response):
        self.asked += 1
        response.message = self.homes.pop(0) if self.homes else ""
        response.success = not response.message
        self.states = [s for s in self.way for _ in range(10)]
        return response

    def tick(self):
        if self.states:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            self.driver.publish(DriverState(state=state, reason="a reason"))
        if self.shows:
            self.seq += 1
            stamp = Time(sec=1000 + int(self.seq / RATE), nanosec=int(self.seq % RATE * 5e7))
            image = array_to_image(np.full((48, 48, 3), 90, np.uint8), stamp, "camera_optical")
            self.observations.publish(
                Observation(header=image.header, seq=self.seq, images=[image])
            )


class Setting:
    def __init__(self, graph, folder, **values):
        self.graph = graph
        self.image = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        save_goal(folder, "A", GoalFile(self.image, facts={"note": "cup left"}))
        self.prompts = graph.collect(String, OPERATOR_PROMPT, LATCHED)
        self.logs = graph.logs()
        self.lab = graph.add(Lab(graph.context))
        options = parameters({"goals": str(folder), "home_patience": 5.0, **values})
        self.node = graph.add(OperatorNode(context=graph.context, parameter_overrides=options))
        client = graph.client
        self.scenes = client.create_client(ResetScene, RESET_SCENE)
        self.judges = client.create_client(JudgeEpisode, JUDGE_EPISODE)
        graph.wait(self.scenes.service_is_ready)
        graph.wait(self.judges.service_is_ready)

    def request(self, **changes):
        """Ask for a scene; the future of its answer."""
        values = {"task": "A", "protocol": "paper", "seed": 5, **changes}
        return self._send(self.scenes, ResetScene.Request(**values))

    def judge(self, seq):
        return self._send(self.judges, JudgeEpisode.Request(observation_seq=seq))

    def _send(self, client, request):
        sent = self.graph.client.executor.create_task(lambda: client.call_async(request))
        self.graph.wait(sent.done)
        return sent.result()

    def answer(self, future):
        self.graph.wait(future.done, "the answer")
        return future.result()

    def asked(self, text):
        """Wait until a person is asked this, now."""
        self.graph.wait(
            lambda: self.prompts and text in self.prompts[-1].data, f'the question "{text}"'
        )

    def say(self, word):
        return self.graph.call(Trigger, f"operator/{word}", Trigger.Request())

    def set_up(self, **changes):
        """Ask for a scene and arrange it."""
        future = self.request(**changes)
        self.asked("arrange the scene")
        assert self.say("confirm").success
        return self.answer(future)


@pytest.fixture
def lab(graph, tmp_path):
    return Setting(graph, tmp_path / "goals")


def test_the_arm_goes_home_the_person_arranges_and_the_newest_image_is_the_first(lab):
    health = lab.graph.collect(DiagnosticArray, "/diagnostics", 10)
    future = lab.request()
    lab.asked(ARRANGE)
    assert lab.lab.asked == 1 and set(lab.lab.states) == {DriverState.READY}
    assert not future.done()
    lab.logs.expect("confirm: operator/confirm, button 3; failure: operator/failure", Log.WARN)
    lab.graph.wait(
        lambda: any(
            s.name == "/operator" and "waiting for a person" in s.message and ARRANGE in s.message
            for message in list(health)
            for s in message.status
        ),
        "diagnostics",
    )
    before = lab.lab.seq
    assert lab.say("confirm").success
    answer = lab.answer(future)
    assert (answer.error_code, answer.error_msg) == (ErrorCode.NONE, "")
    assert before <= answer.observation_seq <= lab.lab.seq
    assert answer.control_rate == pytest.approx(RATE, rel=0.01)
    assert np.array_equal(image_to_array(answer.goal.images[0], 48), lab.image)
    lab.graph.wait(lambda: lab.prompts[-1].data == "", "an empty prompt")


def test_a_request_that_is_sent_again_meanwhile_is_joined(lab):
    first = lab.request()
    lab.asked(ARRANGE)
    again = [lab.request(), lab.request()]
    lab.graph.wait(lambda: lab.node._requests.joined == 2, "both")
    assert lab.say("confirm").success
    numbers = {lab.answer(future).observation_seq for future in (first, *again)}
    assert len(numbers) == 1 and lab.lab.asked == 1
    assert sum("arrange" in prompt.data for prompt in lab.prompts) == 1


def test_a_scene_that_stands_untouched_is_not_arranged_again(lab):
    first = lab.set_up()
    again = lab.answer(lab.request())  # its answer got lost
    assert again.error_code == ErrorCode.NONE
    assert again.observation_seq > first.observation_seq and lab.lab.asked == 1
    lab.lab.arms.publish(ArmState(moved=True))
    lab.graph.wait(lambda: lab.node._view.moved, "the step")
    assert lab.set_up().error_code == ErrorCode.NONE  # asked anew
    assert lab.lab.asked == 2


def test_another_scene_replaces_the_one_that_nobody_waits_for(lab):
    gone = lab.request()
    lab.asked(ARRANGE)
    other = lab.request(seed=6)
    assert lab.answer(gone).error_code == ErrorCode.CANCELED
    lab.asked("scene 6")
    assert lab.say("confirm").success
    assert lab.answer(other).error_code == ErrorCode.NONE


def test_the_person_judges_and_the_verdict_stays(lab):
    seq = lab.set_up().observation_seq
    for _ in range(3):
        lab.lab.arms.publish(ArmState(moved=True))
    lab.graph.wait(lambda: lab.node._view.moved == 3, "the steps")
    future, again = lab.judge(seq), lab.judge(seq)
    lab.asked("does the table look like the goal A? success or failure")
    refused = lab.say("confirm")
    assert not refused.success and "say success or failure" in refused.message
    assert lab.say("success").success
    for answer in (lab.answer(future), lab.answer(again), lab.answer(lab.judge(seq))):
        assert answer.success and answer.observation_seq >= seq
        assert (answer.steps, answer.first_success) == (3, 3)
        assert (answer.check_names, answer.check_values) == (["operator"], [True])
    nothing = lab.say("success")
    assert not nothing.success and nothing.message == "nothing is asked"


def test_a_failure_is_a_verdict_too_and_a_later_episode_gets_its_own(lab):
    seq = lab.set_up().observation_seq
    future = lab.judge(seq)
    lab.asked("does the table look")
    assert lab.say("failure").success
    answer = lab.answer(future)
    assert not answer.success and answer.first_success == -1
    # Judged: the next scene is arranged by a person even if it is the same.
    seq = lab.set_up().observation_seq
    future = lab.judge(seq)
    lab.asked("does the table look")
    assert lab.say("success").success
    assert lab.answer(future).success


def test_what_cannot_be_judged_or_has_no_goal_is_refused_and_nobody_is_asked(lab):
    answer = lab.answer(lab.judge(1))
    assert answer.error_code == ErrorCode.BAD_REQUEST and "ask for a scene" in answer.error_msg
    answer = lab.answer(lab.request(task="B"))
    assert answer.error_code == ErrorCode.BAD_REQUEST
    assert "take it with ptp goal capture B" in answer.error_msg
    answer = lab.answer(lab.request(task="../A"))
    assert answer.error_code == ErrorCode.BAD_REQUEST and "cannot name" in answer.error_msg
    assert lab.lab.asked == 0
    lab.set_up()
    answer = lab.answer(lab.judge(lab.lab.seq + 1000))
    assert answer.error_code == ErrorCode.BAD_REQUEST and "is yet to come" in answer.error_msg


def test_an_arm_that_cannot_go_home_is_put_right_by_the_person(lab):
    lab.lab.homes = ["the arm is DISABLED: enable it"]
    future = lab.request()
    lab.asked("the arm is not home: the arm is DISABLED: enable it. Put that right, then confirm")
    lab.lab.way = [DriverState.RESETTING, DriverState.FAULT]
    assert lab.say("confirm").success
    lab.asked("the arm is not home: it is FAULT (a reason)")
    lab.lab.way = [DriverState.RESETTING, DriverState.READY]
    assert lab.say("confirm").success
    lab.asked(ARRANGE)
    assert lab.lab.asked == 3
    assert lab.say("failure").success
    answer = lab.answer(future)
    assert answer.error_code == ErrorCode.CANCELED and "gave this scene up" in answer.error_msg


def test_a_scene_without_new_images_does_not_begin(graph, tmp_path):
    lab = Setting(graph, tmp_path / "goals", image_patience=0.3, home=False)
    graph.wait(lambda: lab.node._view.newest, "an image")
    lab.lab.shows = False
    future = lab.request()
    lab.asked(ARRANGE)
    assert lab.say("confirm").success
    lab.asked("no new image for 0.3 s: look at the camera")
    lab.lab.shows = True
    assert lab.say("confirm").success
    answer = lab.answer(future)
    assert answer.error_code == ErrorCode.NONE and lab.lab.asked == 0


def test_buttons_and_keys_answer_while_something_is_asked(graph, tmp_path):
    ours, theirs = pty.openpty()
    lab = Setting(graph, tmp_path / "goals", home=False, tty=os.ttyname(theirs))
    pad = graph.publisher(Joy, JOY, 10)

    def press(button, held=False):
        for down in (0, 1):
            buttons = [0] * 8
            buttons[button], buttons[4] = down, int(held)
            pad.publish(Joy(axes=[0.0] * 8, buttons=buttons))

    press(3)  # nothing is asked: the teleop node's business
    graph.wait(lambda: lab.node._buttons._input.readings == 2, "the press")
    os.write(ours, b"\n")  # nor is this an answer
    future = lab.request()
    lab.asked(ARRANGE)
    press(3, held=True)  # the person moves the arm
    press(0)
    lab.logs.expect("that is no answer to what is asked: say confirm or failure", Log.WARN)
    assert not future.done()
    press(3)
    seq = lab.answer(future).observation_seq
    future = lab.judge(seq)
    lab.asked("does the table look")
    graph.wait(lambda: lab.node._keys._question is lab.node._dialog.question, "a look")
    os.write(ours, b"x")
    os.write(ours, b"s")
    assert lab.answer(future).success
    os.close(ours)
    os.close(theirs)


def test_practice_waits_for_the_person_longer_than_for_a_node(graph, tmp_path):
    lab = Setting(graph, tmp_path / "goals", home=False, remind=1.0)
    options = {"patience": 1.0, "scene_patience": 60.0, "tasks": ["A"], "stay": True}
    graph.add(PracticeNode(context=graph.context, parameter_overrides=parameters(options)))
    lab.asked("arrange the scene: task A")
    lab.logs.expect("waiting for a person for 2 s: arrange the scene", Log.INFO)
    assert lab.say("confirm").success
    lab.logs.expect("encoding the goal")
    # No encoder here: that is said after the patience for a node.
    lab.logs.expect("encode_image did not come within 1 s", Log.ERROR)
