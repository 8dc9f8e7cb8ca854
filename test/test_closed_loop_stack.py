# SPDX-License-Identifier: Apache-2.0
"""Whole stacks with `ptp_legs`, whose agent plans anew as it goes, in the policy node."""

import json
import re

import pytest

from ptp_core.config import FollowerConfig, LegPlannerConfig
from ptp_core.episodes.session_store import Session
from ptp_core.tiny_networks import tiny_config, tiny_networks
from ptp_core.training.checkpoint import save_checkpoint

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

TIMEOUT = 4  # control steps until a subgoal is given up, and another plan is made
MOST_LEGS = 2  # of a plan


@pytest.fixture(scope="module")
def legs(tmp_path_factory):
    """A checkpoint of tiny networks whose classifier never says that work is done."""
    folder = tmp_path_factory.mktemp("legs") / "checkpoint"
    config = {
        **vars(tiny_config()),
        "legs": LegPlannerConfig(samples=4, beam=2, elites=2, most_legs=MOST_LEGS),
        "follower": FollowerConfig(timeout=TIMEOUT, replan="on_reach", distance_threshold=0.0),
    }
    made = tiny_networks(type(tiny_config())(**config), diffusion=True)
    made.part("classifier").body[-1].bias.fill_(-30.0)
    save_checkpoint(folder, made.parts, made.config, {}, spec=made.spec, encoder=made.encoder)
    return folder


def test_an_episode_has_another_plan_after_each_subgoal_that_is_given_up(up, legs, tmp_path):
    run = up(
        *("sim", "task:=D", "protocol:=varied", "mode:=lock_step", "max_steps:=30"),
        *("method:=ptp_legs", f"checkpoint:={legs}", f"output:={tmp_path}", "view:=false"),
    )
    assert run.end() == 0, run.text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failures"] == [] and summary["method"] == "ptp_legs"
    (episode,) = summary["tasks"]["D"]["runs"]
    assert episode["steps"] == 30
    # One plan has MOST_LEGS subgoals at most, so that more of them come from further plans.
    assert episode["subgoals_timed_out"] > MOST_LEGS
    assert "Traceback" not in run.text and not re.search(r"^planner +\|", run.text, re.MULTILINE)


def test_practice_records_its_episodes_and_hands_them_to_the_learner(up, legs, tmp_path):
    run = up(
        *("practice", "task:=D", "protocol:=varied", "mode:=lock_step", "episodes:=2"),
        *("method:=ptp_legs", f"checkpoint:={legs}", f"output:={tmp_path / 'out'}"),
        *("max_steps:=24", "learn_from:=all", "record_images:=false"),
    )
    assert run.end() == 0, run.text
    assert "Traceback" not in run.text and not re.search(r"^planner +\|", run.text, re.MULTILINE)
    entries = Session(tmp_path / "out" / "recordings").entries()
    assert [(entry.label, entry.steps) for entry in entries] == [("failure", 24)] * 2
