# SPDX-License-Identifier: Apache-2.0
"""The order of a run, what it counts, and when it gives up. A scripted table stands in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ptp_interfaces.msg import EpisodeStatus, ErrorCode

from ptp_core.errors import InputError
from ptp_core.practice.epoch import sample_tasks
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.rollout.episode_results import episode_seeds
from ptp_nodes.practice.practice_loop import Acted, EpisodeOutcome, PracticeLoop, RunSettings
from ptp_ros.request_errors import RequestError


class ScriptedTable:
    """Answers as told: ``wins``, ``faults`` (at the reset) and ``broken`` (while acting) and
    ``idle`` (no step) name episodes by their place in the run."""

    def __init__(self, wins=(), faults=(), broken=(), idle=()):
        self.calls = []
        self._wins, self._faults, self._broken = wins, dict(faults), dict(broken)
        self._number, self._idle = -1, idle

    def reset(self, task, protocol, seed):
        self._number += 1
        self.calls.append(("reset", task, protocol, seed))
        if self._number in self._faults:
            raise self._faults[self._number]

    def encode(self):
        self.calls.append(("encode",))

    def plan(self, seed):
        self.calls.append(("plan", seed))
        return 0.5, 2.0

    def record(self, episode):
        self.calls.append(("record", episode.name))

    def save(self, success):
        self.calls.append(("save", success))

    def tell(self, judged):
        self.calls.append(("tell", judged))

    def act(self, seed, max_steps, planned):
        self.calls.append(("act", seed, max_steps, planned))
        if self._number in self._broken:
            raise self._broken[self._number]
        return Acted(
            0 if self._number in self._idle else max_steps, 2, 1, 1.5, np.array([0.010, 0.020])
        )

    def await_active(self, reason):
        self.calls.append(("await_active", reason))

    def judge(self):
        self.calls.append(("judge",))
        won = self._number in self._wins
        return EpisodeOutcome(won, 7 if won else None)


def run(table, tmp_path=None, **settings):
    reports = []
    defaults = {
        **{"tasks": ("A", "B"), "protocol": "paper", "method": "ptp", "episodes": 2, "seed": 5},
        **{"max_steps": (9,), "max_failures": 2},
    }
    practice = PracticeLoop(
        RunSettings(**{**defaults, **settings}),
        table,
        lambda state, episode, **fields: reports.append((state, episode, fields)),
        tmp_path,
    )
    return practice, practice.run(), reports


def test_an_episode_is_reset_planned_done_and_judged_with_its_own_seeds():
    table = ScriptedTable()
    run(table, tasks=("B",), episodes=1)
    seeds = episode_seeds(5, "B", 0)
    assert table.calls == [
        ("reset", "B", "paper", seeds.env),
        ("encode",),
        ("plan", seeds.plan),
        ("record", "task_B_episode_0"),
        ("act", seeds.policy, 9, True),
        ("judge",),
        ("save", False),
        ("tell", False),
    ]


def test_each_task_has_its_own_number_of_steps():
    table = ScriptedTable()
    run(table, tasks=("A", "D"), episodes=1, max_steps=(4, 6))
    assert [call[2] for call in table.calls if call[0] == "act"] == [4, 6]


def test_it_practises_the_scenes_that_practice_in_one_process_does():
    practice, _, _ = run(ScriptedTable(), tasks=("B",), episodes=4)
    config = PracticeConfig(
        checkpoint=Path("none"), env="none", method="ptp", task="B", seed=5, episodes=2
    )
    requests = [
        request
        for number in range(2)
        for request in sample_tasks(config, number)
        if not request.evaluate
    ]
    episodes = list(practice.episodes())
    assert [(e.index, e.seeds) for e in episodes] == [(r.index, r.seeds) for r in requests]


def test_it_loads_no_networks():
    code = "import sys, ptp_nodes.nodes.practice_node; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_while_a_node_is_inactive_it_waits_and_does_the_same_episode_anew():
    inactive = RequestError(ErrorCode.NOT_ACTIVE, "policy was deactivated: activate it first")
    table = ScriptedTable(wins=(21,), broken=dict.fromkeys(range(21), inactive))
    practice, clean, _ = run(table, tasks=("A",), episodes=1, max_failures=2)
    assert clean and practice.failures == []
    assert table.calls.count(("await_active", str(inactive))) == 21
    assert len({call for call in table.calls if call[0] == "reset"}) == 1
    assert (practice.done, practice.successes) == (1, 1)


def test_without_a_planner_the_goal_is_pursued_directly():
    table = ScriptedTable()
    practice, _, _ = run(table, tasks=("A",), episodes=1, method="model_free")
    assert not {"plan", "tell"} & {call[0] for call in table.calls}
    assert table.calls[-3][3] is False
    assert practice.summary()["tasks"]["A"]["plan_seconds"] is None


def test_tasks_take_turns_and_successes_are_counted():
    table = ScriptedTable(wins=(0, 3))
    practice, clean, reports = run(table)
    assert clean
    assert [call[1] for call in table.calls if call[0] == "reset"] == ["A", "B", "A", "B"]
    figures = practice.summary()
    assert figures["mean_success_rate"] == 0.5
    assert [figures["tasks"][t]["success_rate"] for t in "AB"] == [0.5, 0.5]
    assert figures["tasks"]["A"]["runs"][0]["first_success"] == 7
    assert figures["tasks"]["A"]["control_latency_ms"]["p50"] == pytest.approx(15.0)
    judged = [fields for state, _, fields in reports if state == EpisodeStatus.JUDGED]
    assert [fields["success"] for fields in judged] == [True, False, False, True]
    assert reports[-1][0] == EpisodeStatus.FINISHED


def test_an_episode_of_no_steps_is_no_success():
    table = ScriptedTable(wins=(0, 1), idle=(0,))
    practice, _, _ = run(table, tasks=("A",), episodes=2)
    told = [call for call in table.calls if call[0] in ("save", "tell")]
    assert told == [("save", False), ("tell", False), ("save", True), ("tell", True)]
    assert practice.successes == 1
    runs = practice.summary()["tasks"]["A"]["runs"]
    assert [(one["success"], one["first_success"]) for one in runs] == [(False, None), (True, 7)]


@pytest.mark.parametrize("signal", ["none", "simulator", "latent"])
def test_the_summary_names_the_success_signal(signal):
    practice, _, _ = run(ScriptedTable(), success_signal=signal)
    summary = practice.summary()
    assert summary["success_signal"] == signal
    assert bool(summary["privileged"]) is (signal == "simulator")


def test_the_summary_is_on_disk_after_every_episode(tmp_path):
    fault = RequestError(ErrorCode.SHUTTING_DOWN, "the node stops")
    table = ScriptedTable(wins=(0,), faults={1: fault})
    with pytest.raises(RequestError, match="the node stops"):
        run(table, tmp_path / "new" / "folder")
    written = json.loads((tmp_path / "new" / "folder" / "summary.json").read_text())
    assert written["tasks"]["A"]["successes"] == 1
    assert "B" not in written["tasks"]


def test_a_technical_failure_is_told_apart_from_no_success_and_the_run_goes_on():
    fault = RequestError(ErrorCode.BAD_IMAGE, "no image")
    table = ScriptedTable(wins=(0, 2, 3), faults={1: fault})
    practice, clean, reports = run(table)
    assert not clean
    figures = practice.summary()
    assert figures["failures"] == [
        {"task": "B", "episode": 0, "error_code": ErrorCode.BAD_IMAGE, "error_msg": "no image"}
    ]
    assert (figures["tasks"]["A"]["episodes"], figures["tasks"]["B"]["episodes"]) == (2, 1)
    assert (practice.done, practice.successes) == (3, 3)
    assert EpisodeStatus.FAILED in [state for state, _, _ in reports]


def test_failures_in_a_row_end_the_run():
    fault = RequestError(ErrorCode.UNAVAILABLE, "nobody there")
    table = ScriptedTable(faults=dict.fromkeys(range(4), fault))
    practice, clean, _ = run(table)
    assert not clean
    assert len(practice.failures) == 2
    assert practice.summary()["mean_success_rate"] is None


def test_an_episode_is_recorded_from_before_its_first_step_to_after_its_verdict():
    table = ScriptedTable(wins=(0,))
    run(table, tasks=("A",), episodes=2)
    names = [call[0] for call in table.calls]
    assert names == ["reset", "encode", "plan", "record", "act", "judge", "save", "tell"] * 2
    assert [call[1] for call in table.calls if call[0] == "save"] == [True, False]


def test_what_was_recorded_of_a_broken_episode_is_saved_too():
    broken = {0: RequestError(ErrorCode.STALE_OBSERVATION, "no image")}
    table = ScriptedTable(broken=broken)
    practice, clean, _ = run(table, tasks=("A",), episodes=2)
    assert not clean and practice.done == 1
    assert [call[1] for call in table.calls if call[0] == "save"] == [None, False]


def test_a_run_goes_on_where_it_was_killed(tmp_path):
    stop = {3: RequestError(ErrorCode.SHUTTING_DOWN, "the node stops")}
    with pytest.raises(RequestError):
        run(ScriptedTable(wins=(0, 1), broken=stop), tmp_path, resume=True)
    table = ScriptedTable()
    practice, clean, _ = run(table, tmp_path, resume=True)
    assert clean and (practice.done, practice.successes) == (4, 2)
    (reset,) = [call for call in table.calls if call[0] == "reset"]
    assert reset[3] == episode_seeds(5, "B", 1).env
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [summary["tasks"][task]["episodes"] for task in "AB"] == [2, 2]


def test_a_run_never_goes_on_with_other_settings(tmp_path):
    run(ScriptedTable(), tmp_path, resume=True)
    with pytest.raises(InputError, match='another "seed"'):
        run(ScriptedTable(), tmp_path, resume=True, seed=6)


def test_what_failed_is_done_again_where_a_run_can_be_resumed(tmp_path):
    fault = RequestError(ErrorCode.UNAVAILABLE, "the planner died")
    table = ScriptedTable(faults={1: fault})
    practice, clean, _ = run(table, tmp_path, resume=True)
    assert clean and practice.done == 4 and len(practice.failures) == 1
    resets = [call for call in table.calls if call[0] == "reset"]
    assert len(resets) == 5 and resets[4] == resets[1]


def test_what_fails_again_and_again_is_given_up(tmp_path):
    fault = RequestError(ErrorCode.UNAVAILABLE, "the planner died")
    practice, clean, _ = run(
        ScriptedTable(faults=dict.fromkeys(range(1, 9), fault)), tmp_path, resume=True
    )
    assert not clean and practice.done == 1 and len(practice.failures) == 2
