# SPDX-License-Identifier: Apache-2.0
"""`ptp demo` with real nodes and tiny networks: to its end, stopped by hand, wrongly asked."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from ptp_core.data.files import claim
from ptp_core.tiny_networks import tiny_checkpoint

STEPS = 24


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "checkpoint"
    tiny_checkpoint(folder)
    return folder


def start(checkpoint, out, *words):
    command = [sys.executable, "-m", "ptp_cli", "demo", "--checkpoint", checkpoint, "--out", out]
    command += ["--planner", "checkpoint", *words]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def nodes(checkpoint):
    """Nodes that run with this checkpoint."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(checkpoint).encode() in words and b"--ros-args" in words:
            found.append(path)
    return found


def frames(path):
    reader = cv2.VideoCapture(str(path))
    count = 0
    while reader.read()[0]:
        count += 1
    return count


@pytest.mark.process
def test_it_leaves_films_strips_figures_and_a_page(checkpoint, tmp_path):
    out = tmp_path / "demo"
    claim(out, "ptp demo")
    (out / "task_C_episode_0.webm").touch()  # of an earlier demo
    (out / "mine.txt").touch()
    process = start(checkpoint, out, "--tasks", "A", "B", "--max-steps", STEPS, "--seed", 3)
    text = process.communicate(timeout=100)[0]
    assert process.returncode == 0, text
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["tasks"]) == ["A", "B"]
    for task in "AB":
        figures = summary["tasks"][task]
        assert (figures["episodes"], figures["runs"][0]["steps"]) == (1, STEPS)
        # Networks that were never trained, and a few steps.
        assert (figures["success_rate"], figures["runs"][0]["success"]) == (0.0, False)
        assert figures["plan_seconds"] > 0.0
        assert 0.0 < figures["control_latency_p50_ms"] <= figures["control_latency_p99_ms"]
        strip = cv2.imread(str(out / f"task_{task}_episode_0_plan.png"))
        assert strip.shape[1] > strip.shape[0]
    # The first episode may be over before the watcher has found every node; the second may not.
    assert frames(out / "task_A_episode_0.webm") > 12
    assert frames(out / "task_B_episode_0.webm") >= STEPS // 2 + 12
    page = (out / "index.html").read_text()
    assert "task_A_episode_0.webm" in page and "task_B_episode_0_plan.png" in page
    assert "task B: act" in text and "time left" in text
    assert "VP80" not in text  # what libraries say of themselves
    kept = {path.name for path in out.iterdir()}
    assert "mine.txt" in kept and "task_C_episode_0.webm" not in kept
    assert nodes(checkpoint) == []


@pytest.mark.process
def test_ctrl_c_stops_every_node_and_says_what_was_done(checkpoint, tmp_path):
    process = start(checkpoint, tmp_path, "--tasks", "A", "--max-steps", 100_000)
    log = tmp_path / "nodes.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "setting" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        process.stdout.read(1)  # until it says something more
    assert nodes(checkpoint)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=30)[0]
    assert process.returncode == 130, text
    assert time.monotonic() - began < 10
    assert nodes(checkpoint) == []
    assert "stopped by hand" in text
    assert "not done" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "A", "Z"), 'no task "Z"'),
        (("--episodes", 0), "--episodes is 0"),
        (("--max-steps", -1), "--max-steps is -1"),
        (("--planner", "quickest"), "neither a preset"),
        (("--checkpoint", "nowhere"), "no checkpoint"),
    ],
)
def test_wrong_arguments_are_one_clear_line(checkpoint, tmp_path, words, message, capsys):
    from ptp_cli.main import main

    arguments = ["demo", "--checkpoint", checkpoint, "--out", tmp_path / "out", *words]
    assert main([str(word) for word in arguments]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_no_demo_made_is_refused_and_left_as_it_is(checkpoint, tmp_path, capsys):
    from ptp_cli.main import main

    names = ["nodes.log", "summary.json", "task_A_episode_0.webm"]
    for name in names:
        (tmp_path / name).write_text("mine")
    assert main(["demo", "--checkpoint", str(checkpoint), "--out", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert "was not made by `ptp demo`" in line and line.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
