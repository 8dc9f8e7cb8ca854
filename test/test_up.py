# SPDX-License-Identifier: Apache-2.0
"""`ptp up` with real processes: a run to its end, Ctrl-C, a node that dies, wrong arguments."""

import json
import os
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ptp_interfaces.msg import ErrorCode, Latent
from sensor_msgs.msg import Image

from ptp_bringup.running_stack import nodes_of_this_domain
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_ros.graph_testing import Graph
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import LATCHED, LATENT, VIEW_IMAGE

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tiny_checkpoint(folder)
    return folder


def test_a_run_in_lock_step_ends_by_itself_and_leaves_figures_pictures_and_no_process(
    up, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = up(
        *("sim", "task:=A,B", "mode:=lock_step", "planner:=checkpoint", "max_steps:=8"),
        *(f"checkpoint:={folder}", f"output:={tmp_path}", "record:=~/recorded"),
    )
    assert run.end() == 0, run.text
    recorded = tmp_path / "recorded"
    assert recorded.is_dir() and not Path("~").exists()  # a shell leaves the ~ after :=
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failures"] == []
    assert {task: f["episodes"] for task, f in summary["tasks"].items()} == {"A": 1, "B": 1}
    for figures in summary["tasks"].values():
        # Networks that were never trained, and eight steps.
        assert (figures["success_rate"], figures["runs"][0]["success"]) == (0.0, False)
        assert figures["plan_seconds"] > 0.0
        assert 0.0 < figures["control_latency_ms"]["p50"] <= figures["control_latency_ms"]["p99"]
    for name in ("task_A_episode_0", "task_B_episode_0"):
        strip = cv2.imread(str(recorded / f"{name}_plan.png"))
        assert strip.shape[1] > 4 * 96  # start, two subgoals of the default method, goal
        (film,) = (path for path in recorded.glob(f"{name}.*"))
        video = cv2.VideoCapture(str(film))
        frames = 0
        while video.read()[0]:
            frames += 1
        assert frames == 4  # every second of eight steps
    assert re.search(r"practice +\| .*task B: no success after 8 steps", run.text)
    assert "practice has finished; stopping the others" in run.text
    assert "Traceback" not in run.text
    assert nodes_of_this_domain() == {}


def test_without_home_it_runs_and_ctrl_c_stops_everything_within_five_seconds(
    up, folder, monkeypatch
):
    for name in ("HOME", "ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    run = up("sim", f"checkpoint:={folder}", "planner:=checkpoint")
    run.expect("acting: step")
    assert set(nodes_of_this_domain().values()) == {
        *("sim_bridge", "encoder", "planner", "policy", "practice", "view")
    }
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert time.monotonic() - began < 5.0
    assert "SIGINT: stopping" in run.text
    assert "HOME is not set: logs go to" in run.text
    assert "Traceback" not in run.text
    assert nodes_of_this_domain() == {}


def test_a_node_that_dies_is_named_and_the_stack_stops(up, folder):
    run = up("sim", f"checkpoint:={folder}", "planner:=checkpoint", "view:=false")
    run.expect("acting: step")
    (encoder,) = (pid for pid, name in nodes_of_this_domain().items() if name == "encoder")
    os.kill(encoder, signal.SIGKILL)
    assert run.end() == 137
    assert "encoder died (killed by SIGKILL); stopping the others" in run.text
    assert nodes_of_this_domain() == {}


def test_a_parameter_that_does_not_exist_stops_the_stack_and_is_named(up, folder, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("policy:\n  ros__parameters:\n    stale_afer: 1.0\n")
    run = up("sim", f"checkpoint:={folder}", f"params_file:={path}")
    assert run.end() == 1
    assert 'policy: there is no parameter "stale_afer"; did you mean "stale_after"?' in run.text
    assert 'policy died (exit code 1): policy: there is no parameter "stale_afer"' in run.lines[-1]


def test_the_camera_stack_shows_a_video_file(up, folder, tmp_path):
    path = tmp_path / "table.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30.0, (96, 96))
    for level in range(10):
        writer.write(np.full((96, 96, 3), 20 * level, np.uint8))
    writer.release()
    with Graph() as graph:
        latents = graph.collect(Latent, LATENT, LATCHED)
        views = graph.collect(Image, VIEW_IMAGE, LATCHED)
        run = up("camera", f"device:={path}", f"checkpoint:={folder}")
        graph.wait(
            lambda: views and any(latent.error_code == ErrorCode.NONE for latent in latents),
            "latents and the view",
        )
    tiles = image_to_array(views[-1])
    assert tiles.shape[1] > 3 * 240
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert nodes_of_this_domain() == {}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["moon"], 'there is no stack "moon"; there are sim, teleop'),
        (["sim", "goal:=open it"], "goal is one of kind language: leave goal out, or choose one"),
        (["sim", "tsk:=A"], 'sim has no argument "tsk"; did you mean "task"?'),
        (["sim", "mode:=slow"], 'mode is "slow"; it must be one of real_time, lock_step'),
        (["sim", "A"], '"A" is no argument; write name:=value'),
        (["sim", "task:=G"], 'task is "G"; it must be a list of A, B, C, D, E, F'),
        (["sim", "rate:=-3"], "rate is -3; it must be from 0.1 to 60"),
        (["sim", "checkpoint:=/nowhere"], "it must be the folder of a checkpoint, with its ma"),
    ],
)
def test_a_wrong_argument_is_one_line(up, words, text):
    run = up(*words)
    assert run.end() == 2
    assert run.text.startswith("ptp up: ")
    assert text in run.text
    assert len(run.lines) == 1


def test_the_arguments_are_explained(up):
    run = up("sim", "--show-args")
    assert run.end() == 0
    assert "'protocol':" in run.text
    assert "one of: paper, varied" in run.text
