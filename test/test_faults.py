# SPDX-License-Identifier: Apache-2.0
"""The practice stack under faults, each done to real processes. docs/reliability.md lists them."""

import json
import os
import re
import signal
import time

import pytest

from ptp_cli.main import main
from ptp_core.episodes.session_store import Session
from ptp_nodes.tools.soak.soak_observer import observing
from ptp_nodes.tools.soak.soak_run import (
    FAULTS,
    NODES,
    RunningStack,
    kill,
    lost_episodes,
    stop_kill_continue,
)
from ptp_robot.command import LONGEST
from ptp_ros.middleware import left_behind

PATIENCE = 60.0  # s; only a failing test waits this long
STARTS = 20
STEPS = 25  # of an episode
STALLS = 5  # of each length

# Whole stacks, started again and again.
pytestmark = [pytest.mark.process, pytest.mark.timeout(500)]


class Practice:
    """The practice stack with tiny networks and short episodes, and somebody who watches."""

    def __init__(self, checkpoint, folder, observer):
        self.observer, self.folder = observer, folder
        self._read = 0  # episodes that were read back whole
        self._words = [
            f"checkpoint:={checkpoint}",
            f"output:={folder / 'practice'}",
            f"params_file:={folder / 'quick.yaml'}",
            *(
                f"max_steps:={STEPS}",
                "episodes:=100000",
                "record_images:=false",
                "learn_from:=all",
            ),
        ]
        quick = "practice: {ros__parameters: {silence: 3.0, patience: 5.0}}\n"
        quick += "learner: {ros__parameters: {publish_every: 20, save_minutes: 0.02}}\n"
        (folder / "quick.yaml").write_text(quick)
        self.start()

    def start(self):
        self.stack = RunningStack("practice", self._words, self.folder / "nodes.log")

    def wait(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            text = "\n".join(self.stack.lines[-40:])
            assert time.monotonic() < deadline and self.stack.running, f"{what}:\n{text}"
            time.sleep(0.05)

    def go_on(self, count=2):
        """Wait until so many more episodes are recorded."""
        before = self.observer.recorded
        self.wait(lambda: self.observer.recorded >= before + count, "more episodes")

    @property
    def lost(self):
        """Episodes lost of those recorded since this was asked last; reading all takes minutes."""
        count, first = self.observer.recorded, self._read
        self._read = count
        return lost_episodes(self.folder / "practice" / "recordings", count, first)


@pytest.fixture
def practice(checkpoint, tmp_path, ros_domain):
    with observing(ros_domain) as observer:
        running = Practice(checkpoint, tmp_path, observer)
        yield running
        running.stack.stop()


@pytest.mark.timeout(600)  # eight restarts: 154 s on two quiet cores
def test_whichever_node_is_killed_the_arm_holds_still_and_practice_goes_on(practice):
    practice.go_on()
    for node in NODES:
        since = len(practice.stack.lines)
        assert kill(node).do(practice.stack, practice.observer) == ""
        died = f"{node} died (killed by SIGKILL); starting it again"
        practice.wait(lambda died=died, since=since: practice.stack.said(died, since), died)
        practice.wait(lambda node=node: node in practice.stack.nodes(), f"{node} again")
        practice.go_on(1)
        assert practice.lost == 0
    assert practice.observer.outside == 0


def test_a_policy_that_goes_on_with_a_picture_of_two_seconds_ago_moves_nothing(practice):
    practice.go_on()
    for _ in range(3):  # it may be between two episodes
        acting = len(practice.observer.moves) + 3
        practice.wait(lambda most=acting: len(practice.observer.moves) > most, "motions")
        assert stop_kill_continue(practice.stack, practice.observer) == ""
        practice.go_on(1)
    assert practice.observer.oldest <= LONGEST
    assert practice.lost == 0


def test_a_recorder_that_stalls_keeps_every_step(practice):
    practice.go_on(1)
    for seconds in (1.7, 2.5):
        for _ in range(STALLS):
            before = practice.observer.recorded
            assert practice.stack.send("recorder", signal.SIGSTOP)
            time.sleep(seconds)  # the fault itself: about as long as two episodes take
            assert practice.stack.send("recorder", signal.SIGCONT)
            practice.wait(lambda before=before: practice.observer.recorded > before, "an episode")
    entries = Session(practice.folder / "practice" / "recordings").entries()
    assert len(entries) > 2 * STALLS and practice.lost == 0
    short = [entry.steps for entry in entries if entry.steps != STEPS]
    assert not short, "\n".join(practice.stack.lines)


def test_everything_can_be_killed_in_the_middle_and_goes_on_where_it_was(practice):
    practice.wait(lambda: practice.stack.said("[learner]: weights"), "the first weights")
    practice.go_on()
    recorded = practice.observer.recorded
    practice.stack.stop(signal.SIGKILL)  # the nodes follow whoever started them
    deadline = time.monotonic() + PATIENCE
    while practice.stack.nodes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    practice.start()
    practice.wait(lambda: practice.stack.said("goes on after"), "the learner's resume")
    practice.go_on()
    assert practice.observer.recorded > recorded and practice.lost == 0
    (first,) = [line for line in practice.stack.lines if "resetting the scene" in line][:1]
    assert int(re.search(r"episode (\d+) of", first)[1]) > 1


def test_a_soak_of_two_minutes_loses_nothing(checkpoint, tmp_path, capsys):
    report = tmp_path / "soak.json"
    words = ["--minutes", 2, "--every", 120 / (len(FAULTS) + 1), "--max-steps", 40, "--seed", 3]
    words += ["--checkpoint", checkpoint, "--out", tmp_path / "soak", "--json", report]
    status = main(["soak", *map(str, words)])
    figures = json.loads(report.read_text())
    assert status == 0, figures
    assert set(figures["faults"]) == {fault.name for fault in FAULTS}
    assert figures["episodes_confirmed"] > 5 and figures["restarts"] >= len(NODES)
    assert "passed" in capsys.readouterr().out


def test_twenty_starts_and_stops_leave_nothing_behind(checkpoint, tmp_path):
    before = set(left_behind(young=0.0))
    for number in range(STARTS):
        words = [f"checkpoint:={checkpoint}", f"output:={tmp_path / 'practice'}"]
        stack = RunningStack("practice", words, tmp_path / "nodes.log")
        # At another moment each time: while they are imported, made, or run.
        assert stack.wait_for("[recorder]: session", PATIENCE) if number % 4 == 0 else True
        deadline = time.monotonic() + 0.3 * (number % 4)
        while time.monotonic() < deadline or not stack.nodes():
            time.sleep(0.01)
        stack.stop()
        assert stack.nodes() == {}
    left = [path for path in left_behind(young=0.0) if path not in before]
    assert left == [], os.listdir("/dev/shm")
