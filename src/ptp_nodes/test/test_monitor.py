# SPDX-License-Identifier: Apache-2.0
"""What the monitor's page shows, and how it is served. Nothing here needs Rerun."""

import contextlib
import http.client
import importlib.util
import socket
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ptp_interfaces.msg import ArmState, EpisodeStatus, Observation, StepInfo, SubgoalPlan
from rclpy.node import Node
from sensor_msgs.msg import JointState

from ptp_core.errors import InputError
from ptp_description import sawyer_urdf_path
from ptp_nodes.operator.episode_video import GAP, MARK
from ptp_nodes.operator.episode_watcher import EpisodeNews
from ptp_nodes.tools.monitor.monitor_board import BLANK, Board, MonitorNode
from ptp_nodes.tools.monitor.rerun_server import HOST, relaying, require_rerun, serving
from ptp_robot.kinematics import ARM_JOINTS, REST_CONFIGURATION, SawyerKinematics
from ptp_robot.urdf import read_shapes
from ptp_ros import topics
from ptp_ros.diagnostics import Scalars
from ptp_ros.image_messages import array_to_image

SHAPES = read_shapes(sawyer_urdf_path())
RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
TILE = 96  # pixels of an image in the strip


class Sheet:
    """A canvas that keeps what is drawn."""

    def __init__(self):
        self.images, self.numbers, self.texts, self.traces, self.frames = {}, [], [], [], []

    def image(self, name, pixels):
        self.images.setdefault(name, []).append(pixels)

    def number(self, node, name, value):
        self.numbers.append((node, name, value))

    def links(self, frames):
        self.frames.append(frames)

    def trace(self, points):
        self.traces.append(points)

    def text(self, markdown):
        self.texts.append(markdown)

    def shown(self, name):
        """Color in the middle of the newest image of that name."""
        pixels = self.images[name][-1]
        return tuple(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist())

    def strip(self):
        """Colors of the plan's tiles, and which of them is marked."""
        plan = self.images["plan"][-1]
        lefts = range(GAP, plan.shape[1] - TILE, TILE + GAP)
        colors = [tuple(plan[GAP + TILE // 2, x + TILE // 2].tolist()) for x in lefts]
        marks = [tuple(plan[GAP - 2, x + TILE // 2]) == MARK for x in lefts]
        return colors, marks


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def plain(color, size=48):
    return np.full((size, size, 3), color, np.uint8)


def news(state, **changes):
    fields = {"episode_id": "r/e", "task": "B", "episode": 2, "success": False, "steps": 0}
    return EpisodeNews(**{"state": state, "error": "", **fields, **changes})


@pytest.fixture
def sheet():
    return Sheet()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(sheet, clock):
    return Board(sheet, SHAPES, rate=4.0, now=clock)


def test_the_plan_is_shown_from_start_to_goal_with_what_is_pursued_framed(board, sheet):
    board.observed(plain(RED))
    board.goal(plain(BLUE))
    assert sheet.strip() == ([RED, BLUE], [False, False])
    board.planned("r/e", [plain(GREEN), plain(GREY)])
    for subgoal, color in enumerate((GREEN, GREY, BLUE)):
        board.stepped("r/e", subgoal, subgoal)
        marks = [place == subgoal + 1 for place in range(4)]
        assert sheet.strip() == ([RED, GREEN, GREY, BLUE], marks)
        assert sheet.shown("pursued") == color
    drawn = len(sheet.images["plan"])
    board.stepped("r/e", 9, 2)
    assert len(sheet.images["plan"]) == drawn  # nothing new to draw
    board.observed(plain(GREY))
    board.goal(plain(RED))  # the next episode: what was planned is over
    assert sheet.strip() == ([GREY, RED], [False, False])
    assert sheet.shown("pursued") == tuple(BLANK[0, 0].tolist())


def test_without_subgoals_the_goal_itself_is_pursued(board, sheet):
    board.observed(plain(RED))
    board.goal(plain(BLUE))
    board.stepped("r/e", 0, 0)
    assert sheet.strip() == ([RED, BLUE], [False, True])
    assert sheet.shown("pursued") == BLUE


def test_a_plan_made_backwards_is_shown_with_its_own_goal_attention_and_words(board, sheet):
    board.observed(plain(RED))
    board.planned("r/e", [plain(GREEN), plain(GREY)], plain(BLUE))
    assert sheet.strip() == ([RED, GREEN, GREY, BLUE], [False] * 4)
    assert (sheet.shown("pursued"), sheet.shown("goal")) == (GREEN, BLUE)
    height, drawn = sheet.images["plan"][-1].shape[0], len(sheet.images["plan"])
    board.stepped("r/e", 0, 0)
    assert len(sheet.images["plan"]) == drawn  # the policy gets all of it
    board.attended([0.5, 0.25, 0.125, 0.125])
    assert sheet.images["plan"][-1].shape[0] > height  # the bar
    board.episode(news("acting"))
    board.instructed("open the drawer")
    assert sheet.texts[-1].endswith("acting · told: open the drawer")
    board.instructed("")
    assert sheet.texts[-1].endswith("acting")
    board.goal(plain(RED))  # the next episode has a goal image
    assert sheet.strip() == ([RED, RED], [False, False])


def test_images_come_no_faster_than_asked(board, sheet, clock):
    for tick in range(9):
        clock.now = 100.0 + 0.125 * tick
        board.camera(plain((tick, 0, 0), 64))
        board.observed(plain((tick, 0, 0)))
    for name in ("camera", "observation"):
        assert [int(p[0, 0, 0]) for p in sheet.images[name]] == [0, 2, 4, 6, 8]


def test_a_large_camera_image_is_made_small_and_keeps_its_shape(board, sheet):
    board.camera(np.full((480, 640, 3), 7, np.uint8))
    assert sheet.images["camera"][0].shape == (180, 240, 3)


def test_the_line_says_where_the_run_stands(board, sheet):
    board.beat({"encoder", "policy"})
    board.planning(3, 12, 1.25)
    board.episode(news("acting"))
    board.episode(news("judged", success=True, steps=80))
    board.episode(news("failed", error="no camera"))
    board.episode(news("finished"))
    score = " · since this page began 1 of 1 succeeded"
    assert sheet.texts == [
        "Waiting for an episode. Nodes: encoder, policy",
        "Planning: iteration 3 of 12, cost 1.250",
        "Task **B**, episode 3: acting",
        f"Task **B**, episode 3: **success** after 80 steps{score}",
        f"Task **B**, episode 3: **failed**: no camera{score}",
        f"Finished{score}",
    ]
    assert sheet.numbers == [("planner", "cost", 1.25)]


def test_what_seldom_changes_is_repeated_for_pages_that_open_late(board, sheet, clock):
    board.goal(plain(BLUE))
    board.episode(news("acting"))
    for tick in range(41):
        clock.now = 100.0 + 0.5 * tick
        board.observed(plain(RED))
        board.beat({"policy"})
    for tick in range(41):  # the stack has ended
        clock.now = 121.0 + 0.5 * tick
        board.beat(set())
    assert sheet.texts == ["Task **B**, episode 3: acting"] * 4  # once, after 0, 10, 20 s
    assert len(sheet.images["goal"]) == len(sheet.images["plan"]) == 4


def test_the_arm_stands_where_its_joints_put_it(board, sheet):
    board.joints(dict(zip(ARM_JOINTS, REST_CONFIGURATION)))
    position, _ = SawyerKinematics.from_urdf(sawyer_urdf_path()).forward(REST_CONFIGURATION)
    assert sheet.frames[0]["gripper_tip"][:3, 3] == pytest.approx(position)


def test_the_way_of_the_tool_grows_by_steps_that_are_seen_and_starts_anew(board, sheet, clock):
    for x in (0.5, 0.501, 0.51, 0.511, 0.52):
        clock.now += 1.0
        board.tool((x, 0.0, 0.0))
    assert [len(points) for points in sheet.traces] == [2, 3]
    assert sheet.traces[-1][:, 0] == pytest.approx([0.5, 0.51, 0.52])
    board.episode(news("resetting"))
    assert sheet.traces[-1].shape == (0, 3)


class Stage:
    """Publishes until it is shown: a reader may find a writer later than it is found by it."""

    def __init__(self, graph):
        self.graph = graph

    def play(self, topic, messages, quality, shown, what):
        publisher = self.graph.publisher(type(messages[0]), topic, quality)

        def again():
            for message in messages:
                publisher.publish(message)
            return shown()

        self.graph.wait(again, what)


def test_a_real_graph_reaches_the_board(graph, sheet):
    graph.add(MonitorNode(Board(sheet, SHAPES, rate=10.0), context=graph.context))
    learner = graph.add(Node("learner", namespace="/table", context=graph.context))
    Scalars(learner).publish({"q/loss": 0.5})
    play, images = Stage(graph).play, sheet.images
    image = partial(array_to_image, stamp=Time(), frame_id="camera_optical")
    seen = Observation(images=[image(plain(RED))])
    play(topics.OBSERVATION, [seen], topics.STREAM, lambda: "observation" in images, "it")
    goal = image(plain(BLUE))
    play(topics.GOAL_IMAGE, [goal], topics.LATCHED, lambda: "goal" in images, "the goal")
    plan = SubgoalPlan(count=1, images=[image(plain(GREY))])
    play(topics.PLAN, [plan], topics.LATCHED, lambda: len(sheet.strip()[0]) == 3, "the plan")
    play(topics.STEP, [StepInfo(subgoal_index=1)], topics.RECORDS, lambda: sheet.strip()[1][2], "")
    assert sheet.strip() == ([RED, GREY, BLUE], [False, False, True])
    camera = image(plain(GREEN))
    play(topics.IMAGE_RAW, [camera], topics.SENSOR, lambda: "camera" in images, "the camera")
    assert sheet.shown("camera") == GREEN
    joints = JointState(name=list(ARM_JOINTS), position=list(REST_CONFIGURATION))
    play(topics.JOINT_STATES, [joints], topics.COMMANDS, lambda: sheet.frames, "the arm")
    ends = [ArmState(), ArmState()]
    ends[1].pose.position.x = 0.6
    play(topics.ARM_STATE, ends, topics.RECORDS, lambda: sheet.traces, "the way")
    acting = EpisodeStatus(state=EpisodeStatus.ACTING)

    def told():
        return any("acting" in text for text in sheet.texts)

    play(topics.EPISODE, [acting], topics.LATCHED, told, "the line")
    graph.wait(lambda: ("learner", "q/loss", 0.5) in sheet.numbers, "the curve")


@contextlib.contextmanager
def viewer(folder):
    """Some web server in the place of Rerun's; its port."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with HTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def get(port, path, **headers):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_the_page_is_the_viewers_and_may_talk_to_this_machine_alone(tmp_path):
    (tmp_path / "index.html").write_text("<p>viewer</p>")
    port = free_port()
    with viewer(tmp_path) as inner, relaying(HOST, port, inner, 1234) as page:
        assert page == f"http://127.0.0.1:{port}/"
        status, headers, _ = get(port, "/")
        assert status == 302
        assert headers["Location"].startswith(
            "/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A1234%2Fproxy"
        )
        status, headers, body = get(port, headers["Location"])
        assert (status, body) == (200, b"<p>viewer</p>")
        assert headers["Content-Type"] == "text/html"
        policy = headers["Content-Security-Policy"]
        assert "connect-src 'self' http://127.0.0.1:1234;" in policy
        assert get(port, "/none.js")[0] == 404
    with relaying(HOST, port, free_port(), 1234):
        assert get(port, "/?x")[0] == 502


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1:9090", 200),
        ("localhost:8080", 200),  # through ssh, from another port
        ("LOCALHOST", 200),
        ("[::1]:9090", 200),
        ("evil.example:9090", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:80@evil.example", 403),
        ("", 403),
    ],
)
def test_a_page_whose_name_was_made_to_lead_here_gets_nothing(tmp_path, name, status):
    (tmp_path / "index.html").write_text("<p>viewer</p>")
    port = free_port()
    with viewer(tmp_path) as inner, relaying(HOST, port, inner, 1234):
        answer = get(port, "/index.html", Host=name)
    assert answer[0] == status
    assert (b"viewer" in answer[2]) == (status == 200)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        taken = pytest.raises(InputError, match=f"port {port} of 127.0.0.1 cannot be used")
        with taken, serving(port, free_port(), "100MB"):
            pass


def test_rerun_is_found_or_its_lack_is_one_line_that_says_what_to_do():
    if importlib.util.find_spec("rerun") is None:
        with pytest.raises(InputError, match="run `make monitor`"):
            require_rerun()
    else:
        assert require_rerun().is_file()
