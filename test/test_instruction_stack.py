# SPDX-License-Identifier: Apache-2.0
"""Whole stacks that are told what to do: `ptp up sim` and `ptp up practice` with LBP."""

import json
import re

import pytest
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import Goal, StepInfo, SubgoalPlan
from std_msgs.msg import String

from ptp_core.episodes.session_store import Session
from ptp_core.tiny_networks import tiny_instructed_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_ros.graph_testing import Graph
from ptp_ros.topics import INSTRUCTION, LATCHED, PLAN, RECORDS, STEP
from ptp_sim.long_tasks import LONG_TASKS

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

SAY = LONG_TASKS["long_2"].instruction
OTHER = LONG_TASKS["long_1"].instruction


@pytest.fixture(scope="module")
def lbp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instructed") / "lbp"
    tiny_instructed_checkpoint(folder, sentences=[t.instruction for t in LONG_TASKS.values()])
    return folder


def test_a_long_task_is_done_by_its_own_words_and_a_sentence_replaces_them(up, lbp, tmp_path):
    for words in ((), (f"goal:={OTHER}",)):
        out = tmp_path / str(len(words))
        run = up(
            *("sim", "task:=long_2", "protocol:=varied", "mode:=lock_step", "max_steps:=6"),
            *("agent:=lbp", f"checkpoint:={lbp}", f"output:={out}", "view:=false", *words),
        )
        assert run.end() == 0, run.text
        summary = json.loads((out / "summary.json").read_text())
        assert summary["failures"] == [] and summary["tasks"]["long_2"]["episodes"] == 1
        assert summary.get("instruction") == (OTHER if words else None)
        warned = "the verdict is on the task of the scene, not on what the agent was told"
        assert (warned in run.text) == bool(words)
        assert "Traceback" not in run.text
        assert not re.search(r"^planner +\|", run.text, re.MULTILINE)


def test_an_unknown_sentence_is_refused_with_the_known_ones_and_nothing_moves(up, lbp, tmp_path):
    run = up(
        *("sim", "task:=long_2", "protocol:=varied", "mode:=lock_step", "view:=false"),
        *("agent:=lbp", f"checkpoint:={lbp}", "goal:=sing a song", "max_steps:=6"),
        f"output:={tmp_path}",
    )
    assert run.end() == 1, run.text
    assert '"sing a song" is not among the 10 that this checkpoint knows; the nearest' in run.text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["failures"]) == 1 and summary["tasks"] == {}


def test_a_sentence_sent_while_the_arm_moves_is_pursued_and_recorded_without_a_label(
    up, lbp, tmp_path
):
    with Graph() as graph:
        steps = graph.collect(StepInfo, STEP, RECORDS)
        words = graph.collect(String, INSTRUCTION, LATCHED)
        plans = graph.collect(SubgoalPlan, PLAN, LATCHED)
        run = up(
            *("practice", "task:=long_2", "protocol:=varied", "mode:=lock_step"),
            *("agent:=lbp", f"checkpoint:={lbp}", f"output:={tmp_path / 'out'}"),
            *("max_steps:=400", "episodes:=1", "record_images:=false", "learn:=false"),
        )
        graph.wait(lambda: steps and plans and words, "the first steps")
        handle = graph.send_goal(
            ReachGoal, "reach_goal", ReachGoal.Goal(goal=Goal(instruction=OTHER))
        )
        result = graph.result(handle).result
        assert result.error_msg == ""
        graph.wait(lambda: len(words) == 2, "the new words")
        assert [message.data for message in words] == [SAY, OTHER]
        run.expect("the agent was told another goal", 120.0)
        assert run.end() == 0, run.text
    (entry,) = Session(tmp_path / "out" / "recordings").entries()
    assert entry.label == "unlabelled" and entry.steps > 0


def test_practice_with_lbp_learns_and_publishes_weights_of_planner_and_policy(up, lbp, tmp_path):
    quick = tmp_path / "quick.yaml"
    quick.write_text("learner: {ros__parameters: {publish_every: 5, save_minutes: 0.01}}\n")
    run = up(
        *("practice", "task:=long_2", "protocol:=varied", "mode:=lock_step", "episodes:=1000"),
        *("agent:=lbp", f"checkpoint:={lbp}", f"output:={tmp_path / 'out'}", "max_steps:=12"),
        *("learn_from:=all", "utd_ratio:=1.0", "record_images:=false", f"params_file:={quick}"),
    )
    run.expect("weights 1 after", 200.0)
    with Graph() as graph:
        steps = graph.collect(StepInfo, STEP, RECORDS)
        graph.wait(lambda: any("+" in s.command.weights_version for s in steps), "new weights")
    run.close()
    assert "Traceback" not in run.text
    first, learned = load_checkpoint(lbp), load_checkpoint(tmp_path / "out/learner/checkpoint")
    for name in ("lbp_planner", "lbp_policy"):
        before = first.part(name).state_dict()
        assert any(
            not (value == before[key]).all()
            for key, value in learned.part(name).state_dict().items()
        )
