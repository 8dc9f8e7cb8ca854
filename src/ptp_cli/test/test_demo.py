# SPDX-License-Identifier: Apache-2.0
"""What the demo draws, films, writes and logs, without the graph."""

import io
import json
import math
import re
import threading

import cv2
import numpy as np
import pytest

from ptp_cli.commands.demo import SHOWN, _released_parts
from ptp_cli.demo import demo_results
from ptp_cli.demo.demo_film import (
    BAD,
    ENDING,
    EVERY,
    GAP,
    GOOD,
    MARK,
    OPENING,
    RATE,
    STRIP_TILE,
    TILE,
    Film,
    Moment,
    frame,
    strip,
)
from ptp_cli.demo.demo_progress import PATIENCE, DemoWatcher, NodeLog, Progress
from ptp_cli.options import RELEASED
from ptp_cli.pages import figure
from ptp_core.errors import InputError
from ptp_nodes.operator.episode_watcher import EpisodeNews

TITLES = {"A": "tidy up", "B": "<b>close</b> & go"}
STEPS = 10


def grey(value, size=48):
    """An image of one grey, uint8 (size, size, 3)."""
    return np.full((size, size, 3), value, np.uint8)


def has(pixels, color):
    """Whether some pixels are of this colour."""
    return bool((pixels == color).all(axis=2).any())


def moment(**changes):
    values = {"title": "Task A", "step": 3, "steps": STEPS, "subgoal": 1, "subgoals": 8}
    return Moment(**{**values, **changes})


def test_a_frame_shows_three_images_and_what_is_pursued():
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    drawn = frame(grey(90, 240), noise, grey(200), moment())
    assert all(side % 2 == 0 for side in drawn.shape[:2])
    middle = drawn.shape[0] // 2
    for number, value in ((0, 90), (2, 200)):
        column = GAP + number * (TILE + GAP) + TILE // 2
        assert (drawn[middle, column] == value).all()
    # Each pixel of the small image is a square of equal pixels.
    large = np.repeat(np.repeat(noise, 6, 0), 6, 1)
    left = GAP + TILE + GAP
    (top,) = {
        row
        for row in range(drawn.shape[0] - TILE)
        if (drawn[row : row + TILE, left : left + TILE] == large).all()
    }
    assert top > 0
    assert has(drawn, MARK)


def test_every_moment_has_a_frame_of_the_same_size():
    shapes = {
        frame(None, None, None, moment(subgoal=subgoal, subgoals=count)).shape
        for subgoal, count in ((None, 0), (0, 8), (8, 8), (0, 0))
    }
    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("verdict", "color"), [("success", GOOD), ("no success", BAD), ("failed", BAD)]
)
def test_the_verdict_stands_in_the_frame(verdict, color):
    shown = frame(None, None, None, moment(verdict=verdict))
    open_ = frame(None, None, None, moment())
    assert has(shown, color) and not has(open_, GOOD) and not has(open_, BAD)


def test_a_strip_has_a_tile_for_now_each_subgoal_and_the_goal():
    values = range(10, 110, 10)
    images = [grey(value) for value in values]
    drawn = strip(images[0], images[1:-1], images[-1])
    assert drawn.shape[1] == 10 * (STRIP_TILE + GAP) + GAP
    row = GAP + STRIP_TILE // 2
    seen = [drawn[row, GAP + n * (STRIP_TILE + GAP) + STRIP_TILE // 2] for n in range(10)]
    assert [tuple(pixel) for pixel in seen] == [(value,) * 3 for value in values]


def read_film(path):
    """All frames of a video, RGB."""
    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, pixels = reader.read()
        if not good:
            return frames
        frames.append(pixels[:, :, ::-1])


FRAMES = round(OPENING * RATE) + STEPS // EVERY + round(ENDING * RATE)


def test_a_goal_that_is_predicted_is_called_so():
    given = frame(None, None, grey(200), moment())
    predicted = frame(None, None, grey(200), moment(predicted=True))
    other = (given != predicted).any(2)
    columns, rows = np.flatnonzero(other.any(0)), np.flatnonzero(other.any(1))
    assert columns.min() > 2 * (GAP + TILE) and rows.max() < 40 + 26  # the goal's caption alone


def test_a_film_can_be_read_back_with_every_frame(tmp_path):
    film = Film(tmp_path, TITLES, STEPS)
    film.begin("A", 0)
    film.goal(grey(200))
    film.observed(grey(50))
    film.planned([grey(100), grey(150)])
    for step in range(STEPS):
        film.camera(grey(20 * step, 240))
        film.stepped(step, step // 4)
    film.end("success")
    assert film.running is None
    film.close()
    frames = read_film(tmp_path / "task_A_episode_0.webm")
    assert len(frames) == FRAMES
    assert frames[0].shape == frame(None, None, None, moment()).shape
    column, row = GAP + TILE // 2, frames[0].shape[0] // 2
    assert abs(int(frames[0][row, column, 0]) - 50) < 12  # no camera image yet
    assert abs(int(frames[-1][row, column, 0]) - 180) < 12  # the last one
    plan = cv2.imread(str(tmp_path / "task_A_episode_0_plan.png"))
    assert plan.shape[1] == 4 * (STRIP_TILE + GAP) + GAP
    last = cv2.imread(str(tmp_path / "task_A_episode_0_last.png"))[:, :, ::-1]
    assert has(last, GOOD)


class Run:
    """A stage with real film and progress bars."""

    def __init__(self, folder):
        self.folder, self.shown = folder, io.StringIO()
        self.film = Film(folder, TITLES, STEPS)
        self.progress = Progress([2], [STEPS], self.shown, pause=0.0)
        self.stage = DemoWatcher(
            self.film, self.progress, ["A", "B"], STEPS, {"planner", "policy"}
        )

    def news(self, state, task="A", episode=0, **more):
        values = {"success": False, "steps": 0, "error": "", **more}
        self.stage.episode(EpisodeNews(state, f"run/{task}", task, episode, **values))

    def plan(self, task="A"):
        self.stage.planned(f"run/{task}", [grey(1)])

    def act(self, steps, task="A"):
        for step in steps:
            self.stage.stepped(f"run/{task}", step, 0)

    def frames(self, name):
        self.film.close()
        self.progress.close()
        return read_film(self.folder / f"{name}.webm")


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_an_end_that_overtakes_steps_waits_for_them(run):
    for state in ("resetting", "encoding", "planning"):
        run.news(state)
    run.plan()
    run.news("acting")
    run.act(range(STEPS - 4))
    run.news("judged", steps=STEPS, success=True)
    run.news("resetting", "B", 1)
    assert run.film.running == ("A", 0)
    run.act(range(STEPS - 4, STEPS))
    assert run.film.running == ("B", 0)
    assert len(run.frames("task_A_episode_0")) == FRAMES
    assert "A success" in run.shown.getvalue()


def test_a_plan_that_overtakes_the_news_of_its_episode_is_kept_for_it(run):
    run.news("resetting")
    run.plan("A")
    run.act(range(STEPS - 1))
    run.news("judged", steps=STEPS)  # its last step is lost
    run.plan("B")
    run.act(range(2), "B")
    assert run.film.running is None
    run.news("resetting", "B", 1)
    run.act(range(2, STEPS), "B")
    run.news("judged", "B", 1, steps=STEPS)
    assert len(run.frames("task_B_episode_0")) == FRAMES
    assert (run.folder / "task_B_episode_0_plan.png").is_file()


def test_a_plan_of_another_run_is_not_filmed(run):
    run.stage.planned("yesterday/A", [grey(9)])  # latched
    run.news("resetting")
    assert not (run.folder / "task_A_episode_0_plan.png").is_file()


def test_an_end_does_not_wait_for_ever(run):
    run.news("resetting")
    run.plan()
    run.act(range(2))
    run.news("judged", steps=STEPS)
    run.news("resetting", "B", 1)
    for _ in range(PATIENCE):
        run.stage.beat(set())
        assert run.film.running == ("A", 0)
    run.stage.beat(set())
    assert run.film.running == ("B", 0)


def test_a_film_begins_with_whatever_is_heard_first(run):
    run.plan()  # before any news: the nodes found each other late
    run.news("acting")
    run.act(range(STEPS))
    run.news("judged", steps=STEPS)
    assert len(run.frames("task_A_episode_0")) == FRAMES
    assert (run.folder / "task_A_episode_0_plan.png").is_file()


def test_a_broken_episode_is_shown_as_such(run):
    run.news("resetting")
    run.news("failed", error="no camera")
    run.act(range(2))  # late: belongs to nothing
    run.news("resetting", "B", 1)
    assert run.film.running == ("B", 0)
    last = cv2.imread(str(run.folder / "task_A_episode_0_last.png"))[:, :, ::-1]
    assert has(last, BAD)
    assert "A failed" in run.shown.getvalue()


def test_the_bars_name_what_is_waited_for(run):
    run.stage.beat({"planner", "watch"})
    assert "waiting for policy" in run.shown.getvalue()


ABOUT = {
    "episodes_asked": 2,
    "max_steps": 400,
    "parts": [
        {
            "tasks": ["A", "B"],
            "method": "ptp",
            "protocol": "paper",
            "planner": "fast",
            "checkpoint": "models/<a>",
            "policy": "0123abcd",
            "encoder": "4567cdef",
            "finetuned": "models/<b>",
        }
    ],
    "machine": {"machine_cpu": "Some & Co. CPU", "machine_cores": 2},
    "version": "0.1.0",
    "git_commit": "89abcdef0123",
    "date": "2026-01-02 03:04:05 +0000",
}
FIGURES = {
    "episodes": 1,
    "successes": 1,
    "success_rate": 1.0,
    "plan_seconds": 2.345,
    "control_latency_ms": {"p50": 3.21, "p99": math.nan},
    "runs": [
        {
            "episode": 0,
            "seed": 4242,
            "success": True,
            "first_success": 321,
            "steps": 399,
            "plan_seconds": 2.345,
            "final_cost": 5.0,
            "final_distance": 1.25,
            "subgoals_reached": 7,
            "subgoals_timed_out": 0,
        }
    ],
}


@pytest.fixture
def folder(tmp_path):
    """A folder as a run leaves it: A succeeded once and failed once, B was not done."""
    failure = {"task": "A", "episode": 1, "error_code": 12, "error_msg": "camera <stale>"}
    summary = {"mean_success_rate": 1.0, "tasks": {"A": FIGURES}, "failures": [failure]}
    (tmp_path / demo_results.SUMMARY).write_text(json.dumps(summary))
    for name in ("task_A_episode_0.webm", "task_A_episode_0_plan.png"):
        (tmp_path / name).touch()
    return tmp_path


def of(folder, *tasks):
    """The summary of a demo of one stack, two episodes a task."""
    return demo_results.joined([demo_results.gather(folder, tasks, 2)], ABOUT)


def test_the_summary_has_flat_latencies_and_says_how_each_episode_ended(folder):
    summary = of(folder, "A", "B")
    figures = summary["tasks"]["A"]
    assert figures["control_latency_p50_ms"] == 3.21
    assert figures["control_latency_p99_ms"] is None
    ends = {(s["task"], s["episode"]): s["outcome"] for s in summary["shown"]}
    assert ends == {
        ("A", 0): "success",
        ("A", 1): "failed",
        ("B", 0): "not done",
        ("B", 1): "not done",
    }
    assert demo_results.ending(summary, "B", 0) == "failed"
    demo_results.write_summary(folder, summary)
    assert json.loads((folder / demo_results.SUMMARY).read_text()) == summary


def test_without_a_summary_nothing_was_done(tmp_path):
    summary = demo_results.gather(tmp_path, ["A"], 1)
    assert [shown["outcome"] for shown in summary["shown"]] == ["not done"]
    assert summary["tasks"] == {}


def test_the_summaries_of_several_stacks_become_one(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    figures = {**FIGURES, "success_rate": 0.0}
    (other / demo_results.SUMMARY).write_text(
        json.dumps({"tasks": {"long_1": figures}, "failures": []})
    )
    parts = [demo_results.gather(folder, ["A", "B"], 1), demo_results.gather(other, ["long_1"], 1)]
    summary = demo_results.joined(parts, ABOUT)
    assert list(summary["tasks"]) == ["A", "long_1"]
    assert summary["mean_success_rate"] == 0.5 and len(summary["failures"]) == 1
    assert [shown["task"] for shown in summary["shown"]] == ["A", "B", "long_1"]
    assert summary["version"] == ABOUT["version"]
    nothing = demo_results.joined([demo_results.gather(other / "none", ["C"], 1)], ABOUT)
    assert nothing["mean_success_rate"] is None and nothing["tasks"] == {}


def test_the_bar_counts_the_steps_of_stacks_whose_episodes_differ_in_length():
    shown = io.StringIO()
    progress = Progress([1, 2], [100, 300], shown, pause=0.0)
    progress.stage("act", 100, "step")
    progress.stepped(40, "goal")
    assert progress._all.n == 40
    progress.episode_done("A", "success")  # it ended early
    assert progress._all.n == 100
    progress.stage("act", 300, "step")
    progress.stepped(10, "goal")
    progress.episode_done("long_1", "success")
    assert progress._all.n == 400 and progress._all.total == 700
    progress.close()


def test_a_later_plan_replaces_the_subgoals_and_leaves_the_strip(tmp_path):
    film = Film(tmp_path, TITLES, STEPS)
    film.begin("A", 0)
    film.observed(grey(50))
    film.planned([grey(100), grey(150)])
    before = (tmp_path / "task_A_episode_0_plan.png").read_bytes()
    film.stepped(0, 0)
    film.planned([grey(220)])
    film.stepped(STEPS - STEPS % EVERY - EVERY, 0)
    film.end("success")
    film.close()
    assert (tmp_path / "task_A_episode_0_plan.png").read_bytes() == before
    last = cv2.imread(str(tmp_path / "task_A_episode_0_last.png"))[:, :, ::-1]
    column, row = 2 * GAP + TILE + TILE // 2, last.shape[0] // 2
    assert abs(int(last[row, column, 0]) - 220) < 12
    # Only the first plan stands still for a while.
    frames = read_film(tmp_path / "task_A_episode_0.webm")
    assert len(frames) == round(OPENING * RATE) + 2 + round(ENDING * RATE)


def test_the_page_shows_all_figures_and_escapes_text(folder):
    summary = {
        **demo_results.joined([demo_results.gather(folder, ["A", "B"], 2)], ABOUT),
        "stopped": "by <hand>",
    }
    text = demo_results.render_page(summary, TITLES, [("Again", "ptp demo --out 'a<b'")])
    for word in ("2.35", "3.2", "399", "4242", "321", "1 of 1", "0123abcd", "models/&lt;a&gt;"):
        assert word in text, word
    for word in ("Some &amp; Co. CPU", "camera &lt;stale&gt;", "by &lt;hand&gt;", "a&lt;b"):
        assert word in text, word
    assert "&lt;b&gt;close&lt;/b&gt; &amp; go" in text
    assert "<b>" not in text
    for word in ("goal not reached", "broken off", "not done", "There is no video"):
        assert (word in text) == (word != "goal not reached"), word
    assert 'src="task_A_episode_0.webm"' in text
    assert 'src="task_A_episode_0_plan.png"' in text


def test_the_page_needs_nothing_from_elsewhere(folder):
    summary = {
        **demo_results.joined([demo_results.gather(folder, ["A", "B"], 2)], ABOUT),
        "stopped": "",
    }
    text = demo_results.render_page(summary, TITLES, [])
    assert re.findall(r'(?:src|href)="(?!task_|#task-|summary\.json|nodes\.log)[^"]*"', text) == []
    assert not re.search(r"https?:|@import|url\(|<script", text)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "\N{EN DASH}"), (1.26, "1.3\N{NO-BREAK SPACE}s")]
)
def test_a_missing_figure_is_a_dash(value, text):
    assert figure(value, ".1f", "s") == text


def test_the_log_keeps_lines_of_threads_apart_and_tells_of_trouble(tmp_path):
    heard = []
    with NodeLog(tmp_path / "nodes.log", heard.append) as log:

        def speak(name):
            for number in range(200):
                print(f"{name} | line {number}", file=log, flush=True)

        threads = [threading.Thread(target=speak, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("planner | [ERROR] [1.0] [planner]: bad", file=log)
        print("ptp | policy died (exit code 1)", file=log)
    lines = (tmp_path / "nodes.log").read_text().splitlines()
    assert all(re.fullmatch(r"[ab] \| line \d+", line) for line in lines[:-2])
    assert len(lines) == 402
    assert heard == lines[-2:]


def test_each_task_is_shown_with_the_released_checkpoint_that_is_made_for_it():
    found = _released_parts(SHOWN, "checkpoint", RELEASED)
    assert [(part.tasks, part.method, part.protocol) for part in found] == [
        (("A", "B", "C"), "", "paper"),
        (("D",), "ptp_legs", "varied"),
        (("long_1", "long_2"), "lbp", "varied"),
    ]
    assert [part.checkpoint.folder.name for part in found] == ["table", "varied", "lbp"]
    assert [part.finetuned is not None for part in found] == [True, False, False]
    assert [part.longest(None) for part in found] == [400, 600, 400]
    assert found[2].longest(7) == 7
    (words,) = _released_parts(["long_3"], "checkpoint", "none")
    assert words.tasks == ("long_3",)


def test_a_planner_that_no_shown_task_has_is_refused():
    with pytest.raises(InputError, match="--planner is for A, B, C, and none of them is shown"):
        _released_parts(["D", "long_1"], "fast", RELEASED)
    table, legs = _released_parts(["A", "D"], "fast", "none")
    assert (table.planner, legs.planner) == ("fast", "checkpoint")
    assert table.finetuned is None
