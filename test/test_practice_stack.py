# SPDX-License-Identifier: Apache-2.0
"""`ptp up practice` to its end: it records and learns, and the next run goes on."""

import json

import pytest
from safetensors.numpy import load_file

from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.training.checkpoint import load_checkpoint

EPISODES, STEPS = 3, 25

# Two runs of a whole stack.
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def start(up, checkpoint, tmp_path):
    quick = tmp_path / "quick.yaml"
    quick.write_text("learner: {ros__parameters: {publish_every: 5}}\n")

    def start(episodes):
        return up(
            *("practice", "task:=A", f"episodes:={episodes}", f"max_steps:={STEPS}"),
            *("preset:=paper", "reuse_plans:=true", f"checkpoint:={checkpoint}"),
            *(f"output:={tmp_path / 'out'}", f"params_file:={quick}"),
        )

    return start


def test_it_records_learns_and_goes_on_where_it_ended(start, checkpoint, tmp_path):
    out = tmp_path / "out"
    stack = start(EPISODES)
    stack.expect("finished: ")
    assert stack.end() == 0, stack.text
    session = Session(out / "recordings")
    assert [entry.steps for entry in session.entries()] == [STEPS] * EPISODES, stack.text
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["success_signal"], summary["privileged"]) == ("latent", [])
    labels = [run["success"] for run in summary["tasks"]["A"]["runs"]]
    assert [entry.label == "success" for entry in session.entries()] == labels

    again = start(EPISODES + 3)
    again.expect("finished: ")
    assert again.end() == 0, again.text
    assert "goes on after" in again.text and "in use" in again.text
    assert f"episode {EPISODES} of" not in again.text
    # The planner was told how its plans ended; the last word may come too late.
    records = [v for k, v in load_file(out / "plans.safetensors").items() if k.endswith("record")]
    assert EPISODES + 3 - 2 <= sum(int(record[1]) for record in records) <= EPISODES + 3
    entries = session.entries()
    assert len(entries) == EPISODES + 3
    learned = load_checkpoint(out / "learner" / "checkpoint").metrics
    assert 0 < learned["updates"] <= (EPISODES + 3) * STEPS
    # Which weights moved the arm stands in the recordings, and changed on the way.
    definitions = Definitions()
    versions = {
        version
        for entry in entries
        for version in read_confirmed(session, entry, definitions).weights_versions
    }
    base = min(versions, key=len)
    assert len(versions) > 1 and all(version.startswith(base) for version in versions)
    assert json.loads((out / "summary.json").read_text())["tasks"]["A"]["episodes"] == EPISODES + 3
