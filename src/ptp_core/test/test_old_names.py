# SPDX-License-Identifier: Apache-2.0
"""Files of earlier versions under today's names of methods."""

import json

import pytest

from ptp_core.practice.old_names import with_todays_name
from ptp_core.practice.run_folder import read_run


@pytest.mark.parametrize(
    ("method", "planner", "today"),
    [
        ("ptp", {"levels": 1}, "ptp_single_subgoal"),
        ("ptp", {"levels": 3}, "ptp"),
        ("ptp", None, "ptp"),
        ("ptp_single_subgoal", {"levels": 1}, "ptp_single_subgoal"),
        ("ptp_no_hierarchy", {"levels": 1}, "ptp_no_hierarchy"),
        ("gcp", {"depth": 3}, "gcp"),
    ],
)
def test_only_ptp_with_one_level_has_another_name_today(method, planner, today):
    written = {"method": method, "planner": planner, "seed": 4}
    assert with_todays_name(written) == {**written, "method": today}
    assert written["method"] == method


def test_settings_have_the_names_of_today():
    written = {"method": "gcp", "updates_per_step": 0.25, "learning_rate": 3e-5}
    today = {"method": "gcp", "utd_ratio": 0.25, "learning_rate": 3e-5}
    assert with_todays_name(written) == with_todays_name(today) == today


def test_a_run_is_read_under_the_name_of_today(tmp_path):
    settings = {"method": "ptp", "planner": {"levels": 1}, "task": "A", "seed": 0}
    settings["protocol"] = "paper"
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert read_run(tmp_path).settings["method"] == "ptp_single_subgoal"
