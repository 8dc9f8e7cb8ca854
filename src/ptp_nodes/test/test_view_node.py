# SPDX-License-Identifier: Apache-2.0
"""What a person sees: tiles, strip, markers, path, and the files of an episode."""

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import Path
from ptp_interfaces.msg import ArmState, EpisodeStatus, Observation, StepInfo, SubgoalPlan
from ptp_interfaces.srv import DecodeLatent
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, String
from visualization_msgs.msg import Marker, MarkerArray

from ptp_nodes.nodes.view_node import ViewNode
from ptp_nodes.operator.episode_video import (
    GAP,
    LINE,
    MARK,
    SHADES,
    EpisodeVideo,
    row,
    strip,
    tile,
)
from ptp_nodes.operator.plan_pictures import PERIOD, PlanPictures
from ptp_robot.action import Workspace
from ptp_ros import topics
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import array_to_image, image_to_array

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plain(color, size=48):
    return np.full((size, size, 3), color, np.uint8)


def colors(image, count, size):
    """Color in the middle of each tile of a row."""
    centres = [GAP + k * (size + GAP) + size // 2 for k in range(count)]
    return [tuple(image[GAP + size // 2, x].tolist()) for x in centres]


def test_a_small_image_keeps_its_pixels_and_a_missing_one_is_grey():
    small = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    assert np.array_equal(tile(small, 4), small.repeat(2, axis=0).repeat(2, axis=1))
    assert (tile(None, 5) == 64).all()


def test_tiles_stand_side_by_side_and_one_is_marked():
    image = row([plain(RED), None, plain(BLUE)], ["a", "b", "c"], 60, marked=2)
    assert colors(image, 3, 60) == [RED, (64, 64, 64), BLUE]
    above = [tuple(image[GAP - 2, GAP + k * (60 + GAP) + 30]) for k in range(3)]
    assert [color == MARK for color in above] == [False, False, True]


@pytest.mark.parametrize(("pursued", "place"), [(0, 1), (1, 2), (2, 3)])
def test_the_strip_marks_the_subgoal_or_goal_that_is_pursued(pursued, place):
    image = strip(plain(RED), [plain(GREEN)] * 2, plain(BLUE), pursued, size=50)
    assert colors(image, 4, 50) == [RED, GREEN, GREEN, BLUE]
    above = [tuple(image[GAP - 2, GAP + k * (50 + GAP) + 25]) for k in range(4)]
    marks = [color == MARK for color in above]
    assert marks == [k == place for k in range(4)]


def test_a_video_has_its_images_and_its_name_only_when_it_is_whole(tmp_path):
    video = EpisodeVideo(tmp_path, rate=12.0)
    video.begin("A", 3)
    for level in range(5):
        video.add(np.full((51, 60, 3), 40 * level, np.uint8))
    video.begin("B", 4)
    video.close(timeout=20.0)
    (path,) = tmp_path.iterdir()
    assert path.stem == "task_A_episode_3"
    capture, levels = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        levels.append(read[1].mean())
    assert levels == pytest.approx([0, 40, 80, 120, 160], abs=12)


class Stage:
    """Publishers of all that the view listens to, and what it shows."""

    def __init__(self, graph):
        self.graph = graph
        latched, records = topics.LATCHED, topics.RECORDS
        self.observation = graph.publisher(Observation, topics.OBSERVATION, latched)
        self.goal = graph.publisher(Image, topics.GOAL_IMAGE, latched)
        self.plan = graph.publisher(SubgoalPlan, topics.PLAN, topics.PLANS)
        self.step = graph.publisher(StepInfo, topics.STEP, records)
        self.arm = graph.publisher(ArmState, topics.ARM_STATE, records)
        self.episode = graph.publisher(EpisodeStatus, topics.EPISODE, latched)
        self.images = graph.collect(Image, topics.VIEW_IMAGE, latched)
        self.strips = graph.collect(Image, topics.VIEW_SUBGOALS, latched)
        self.markers = graph.collect(MarkerArray, topics.VIEW_MARKERS, latched)
        self.paths = graph.collect(Path, topics.ARM_PATH, latched)

    def show(self):
        self.observation.publish(Observation(seq=1, images=[image(RED)]))
        self.goal.publish(image(BLUE))
        self.plan.publish(SubgoalPlan(count=2, images=[image(GREEN), image(GREEN)]))


def image(color):
    return array_to_image(plain(color), Time(), "camera_optical")


@pytest.fixture
def start(graph):
    def start(**values):
        options = parameters({"rate": 30.0, "tile": 100, **values})
        graph.add(ViewNode(context=graph.context, parameter_overrides=options))
        return Stage(graph)

    return start


def test_now_the_pursued_subgoal_and_the_goal_are_shown(graph, start):
    stage = start()
    stage.show()
    stage.step.publish(StepInfo(subgoal_index=1, subgoal_count=2))

    def shown():
        return stage.images and colors(image_to_array(stage.images[-1]), 3, 100)

    graph.wait(lambda: shown() == [RED, GREEN, BLUE], "now, subgoal, goal")
    stage.step.publish(StepInfo(subgoal_index=2, subgoal_count=2, step=1))
    graph.wait(lambda: shown() == [RED, BLUE, BLUE], "the goal itself")
    strip_ = image_to_array(stage.strips[-1])
    assert colors(strip_, 4, 96) == [RED, GREEN, GREEN, BLUE]


def test_markers_number_the_subgoals_and_outline_the_workspace(graph, start):
    stage = start()
    stage.show()
    stage.step.publish(StepInfo(subgoal_index=1, subgoal_count=2))

    def texts():
        newest = stage.markers[-1].markers if stage.markers else []
        return [m.text for m in newest if m.type == Marker.TEXT_VIEW_FACING]

    graph.wait(lambda: texts() == ["1", "2", "goal"], "numbers")
    box = next(m for m in stage.markers[-1].markers if m.ns == "workspace")
    assert len(box.points) == 24
    points = {(p.x, p.y, p.z) for p in box.points}
    assert points == {tuple(corner) for corner in Workspace().corners().tolist()}
    assert all(m.header.frame_id == "base" for m in stage.markers[-1].markers)


def test_the_path_grows_with_the_arm_and_starts_anew_with_an_episode(graph, start):
    stage = start(path_length=3)
    for step in range(5):
        state = ArmState(observation_seq=step)
        state.header.frame_id = "base"
        state.pose.position.x = 0.1 * step
        stage.arm.publish(state)

    def xs():
        return [p.pose.position.x for p in stage.paths[-1].poses] if stage.paths else []

    graph.wait(lambda: xs() == pytest.approx([0.2, 0.3, 0.4]), "the last three poses")
    stage.episode.publish(EpisodeStatus(state=EpisodeStatus.RESETTING))
    graph.wait(lambda: xs() == [], "an empty path")


def frames(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def test_every_step_lands_in_the_video_of_its_episode_even_when_topics_overtake(
    graph, start, tmp_path
):
    stage = start(record=str(tmp_path), record_every=2)
    stage.show()
    graph.wait(lambda: stage.images, "the view")
    ids = [f"run/task_C_episode_{number}" for number in (4, 5)]
    for number, name in enumerate(ids):
        judged = EpisodeStatus(state=EpisodeStatus.JUDGED, episode_id=name, steps=8)
        stage.plan.publish(SubgoalPlan(count=1, images=[image(GREEN)], episode_id=name))
        graph.wait(
            lambda n=number: (tmp_path / f"task_C_episode_{4 + n}_plan.png").exists(), "the strip"
        )
        for step in range(8):
            if number == step == 1:
                stage.episode.publish(judged)  # the verdict overtakes the steps
            stage.step.publish(StepInfo(step=step, episode_id=name, subgoal_count=1))
        stage.episode.publish(judged)

    def video(number):
        found = list(tmp_path.glob(f"task_C_episode_{number}.[wm]*"))
        return found[0] if found else None

    graph.wait(lambda: video(4) and video(5), "the videos")
    assert [frames(video(number)) for number in (4, 5)] == [4, 4]


def test_a_view_that_is_late_draws_the_strip_of_each_episode(graph, tmp_path):
    plans = graph.publisher(SubgoalPlan, topics.PLAN, topics.PLANS, readers=0)
    names = [f"task_{task}_episode_0" for task in "AB"]
    for name in names:
        plans.publish(SubgoalPlan(count=1, images=[image(GREEN)], episode_id=f"run/{name}"))
    options = parameters({"record": str(tmp_path)})
    graph.add(ViewNode(context=graph.context, parameter_overrides=options))
    strips = [tmp_path / f"{name}_plan.png" for name in names]
    graph.wait(lambda: all(strip.exists() for strip in strips), "both strips")


def test_a_failed_episode_keeps_the_video_that_there_is(graph, start, tmp_path):
    stage = start(record=str(tmp_path), record_every=1)
    stage.show()
    for step in range(3):
        stage.step.publish(StepInfo(step=step, episode_id="run/task_A_episode_0"))
    graph.wait(lambda: list(tmp_path.glob("*.partial.*")), "the video to begin")
    failed = EpisodeStatus(state=EpisodeStatus.FAILED, episode_id="run/task_A_episode_0")
    stage.episode.publish(failed)
    graph.wait(lambda: list(tmp_path.glob("task_A_episode_0.[wm]*")), "the video")


def test_an_image_that_is_none_is_named_and_the_view_goes_on(graph, start):
    stage = start()
    logs = graph.logs()
    bad = image(RED)
    bad.encoding = "jpeg"
    stage.goal.publish(bad)
    logs.expect('not shown: image encoding "jpeg"')
    stage.show()
    graph.wait(
        lambda: stage.images and colors(image_to_array(stage.images[-1]), 1, 100) == [RED], "now"
    )


class Decoder(Node):
    """Serves what the encoder node does: a plain picture for each latent, by its first index."""

    COLORS = (RED, GREEN, BLUE)

    def __init__(self, context):
        super().__init__("decoder", context=context)
        self.asked = []
        self.create_service(DecodeLatent, topics.DECODE_LATENT, self._decode)

    def _decode(self, request, response):
        self.asked.append(request)
        rows = np.array(request.latents.indices).reshape(request.latents.shape)
        response.images = [image(self.COLORS[row[0]]) for row in rows]
        return response


def backward_plan(name="r/e", number=1):
    """Near green, far red, and the goal blue, as the policy node publishes it: no pictures."""
    latents = np.array([[1, 4], [0, 4], [2, 4]], np.uint32)
    return SubgoalPlan(
        episode_id=name,
        plan_id=number,
        count=3,
        subgoals=latent_message(latents, "e"),
        goal=latent_message(latents[-1], "e"),
    )


def test_a_plan_made_backwards_is_decoded_and_shown_with_goal_and_attention(graph, start):
    decoder = graph.add(Decoder(graph.context))
    stage = start()
    attention = graph.publisher(Float32MultiArray, topics.PLAN_ATTENTION, topics.LATCHED)
    words = graph.publisher(String, topics.INSTRUCTION, topics.LATCHED)
    stage.observation.publish(Observation(seq=1, images=[image(RED)]))
    graph.wait(lambda: graph.client.count_clients(topics.DECODE_LATENT), "the client")
    view = next(node for node, *_ in graph._spinning if node.get_name() == "view")
    graph.wait(view._pictures._decoder.service_is_ready, "the decoder")
    stage.plan.publish(backward_plan())
    attention.publish(Float32MultiArray(data=[0.5, 0.25, 0.125, 0.125]))
    words.publish(String(data="open the drawer"))

    def strip_():
        return image_to_array(stage.strips[-1]) if stage.strips else np.zeros((1, 1, 3))

    row_ = 96 + LINE + 2 * GAP
    graph.wait(lambda: strip_().shape[0] > row_ and strip_().shape[1] > 4 * 96, "plan and bar")
    assert colors(strip_(), 4, 96) == [RED, GREEN, RED, BLUE]
    bar = strip_()[row_ + GAP + 1]
    inner = bar[GAP:-GAP]
    shares = [(inner == shade).all(axis=1).mean() for shade in SHADES]
    assert shares == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.01)
    stage.step.publish(StepInfo(subgoal_index=0, subgoal_count=3))
    graph.wait(lambda: image_to_array(stage.images[-1]).shape[0] > 100 + LINE + 2 * GAP, "words")
    assert colors(image_to_array(stage.images[-1]), 3, 100) == [RED, GREEN, BLUE]
    assert len(decoder.asked) == 1


def test_plans_made_at_every_step_are_decoded_twice_a_second_at_most(graph):
    decoder, shown = graph.add(Decoder(graph.context)), []
    pictures = PlanPictures(graph.client, shown.append)
    graph.wait(pictures._decoder.service_is_ready, "the decoder")
    for number in (1, 2, 3):
        pictures.planned(backward_plan(number=number))
    graph.wait(lambda: shown, "the plan")
    assert [(len(plan.subgoals), plan.backward) for plan in shown] == [(2, True)]
    pictures._asked -= PERIOD  # half a second later
    pictures.planned(backward_plan(number=4))
    graph.wait(lambda: len(shown) == 2, "the next plan")
    assert len(decoder.asked) == 2


def test_a_plan_that_was_searched_for_has_no_goal_of_its_own_though_it_ends_there(graph):
    graph.add(Decoder(graph.context))
    shown = []
    pictures = PlanPictures(graph.client, shown.append)
    graph.wait(pictures._decoder.service_is_ready, "the decoder")
    searched, pictured = backward_plan(), backward_plan()
    searched.cost_names, searched.cost_values = ["value"], [1.0]
    pictured.images = [image(RED)] * 3
    pictures.planned(pictured)
    pictures.planned(searched)
    graph.wait(lambda: len(shown) == 2, "both plans")
    assert [(len(plan.subgoals), plan.backward) for plan in shown] == [(3, False)] * 2


def test_a_plan_without_a_decoder_is_left_out(graph):
    shown = []
    pictures = PlanPictures(graph.client, shown.append)
    pictures.planned(backward_plan())
    pictures.planned(SubgoalPlan(count=1, images=[image(RED)]))  # has pictures of its own
    assert [(len(plan.subgoals), plan.backward) for plan in shown] == [(1, False)]
