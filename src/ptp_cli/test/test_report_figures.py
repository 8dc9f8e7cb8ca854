# SPDX-License-Identifier: Apache-2.0
"""Beside which figures a report sets the paper's numbers, and which figures it leaves out."""

import json

import pytest

from ptp_cli.report.gather_runs import gather
from ptp_cli.report.report_figures import evaluation_curves, table


@pytest.fixture
def run(tmp_path):
    """Writes a finished run of one epoch; its folder."""

    def written(**changes):
        settings = {"method": "ptp", "task": "A", "seed": 0, "protocol": "paper", "episodes": 2}
        settings |= {"planner": {"levels": 3}, "utd_ratio": 1.0, "reuse_plans": False}
        evaluations = [{"epoch": epoch, "episodes": 2, "successes": epoch} for epoch in (0, 1)]
        epoch = {"epoch": 1, "practice_success_rate": 0.5, "evaluation": evaluations[0]}
        result = {"epochs": [epoch], "evaluations": evaluations, "updates": 3}
        (tmp_path / "settings.json").write_text(json.dumps({**settings, **changes}))
        (tmp_path / "result.json").write_text(json.dumps(result))
        return tmp_path

    return written


@pytest.mark.parametrize(
    ("changes", "offline", "online"),
    [
        ({}, 0.533, 0.849),
        ({"utd_ratio": 0.0}, 0.533, None),
        ({"reuse_plans": True}, 0.533, None),
        ({"protocol": "varied"}, None, None),
        ({"planner": {"levels": 1}}, None, None),
        ({"method": "model_free"}, None, None),
    ],
)
def test_the_papers_numbers_stand_beside_what_the_paper_does(run, changes, offline, online):
    found = gather([str(run(**changes))])
    (row,) = table(found, evaluation_curves(found))
    assert (row.offline.rate, row.online.rate) == (0.0, 0.5)
    assert (row.paper_offline, row.paper_online) == (offline, online)


def test_controls_are_no_methods_figures(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "random.json"
    path.write_text(json.dumps({"method": "ptp", "subgoals": "random", "tasks": {}}))
    found = gather([str(run()), str(path)])
    (line,) = found.complaints
    assert "random subgoals are a control" in line
