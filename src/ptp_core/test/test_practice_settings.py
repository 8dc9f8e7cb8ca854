# SPDX-License-Identifier: Apache-2.0
"""Two presets, single settings on top, and help that names both values of each."""

import pytest

from ptp_core.errors import ConfigError
from ptp_core.practice.practice_settings import ABOUT, PracticeSettings, preset


def test_the_papers_preset_is_its_algorithm():
    paper = preset("paper")
    assert (paper.actions, paper.learn_from, paper.reuse_plans) == ("sample", "all", False)
    assert (paper.utd_ratio, paper.learning_rate) == (1.0, 3e-4)
    assert not paper.privileged


def test_ours_is_the_default_and_says_that_it_is_privileged():
    assert preset("ours") == PracticeSettings()
    assert preset("ours").privileged
    assert not preset("ours", success_signal="latent").privileged


def test_single_settings_go_on_top_and_none_is_not_given():
    settings = preset("paper", learning_rate=1e-5, learn_from=None)
    assert (settings.learning_rate, settings.learn_from) == (1e-5, "all")


@pytest.mark.parametrize("change", [{"learn_from": "successes"}, {"reuse_plans": True}])
def test_a_signal_that_is_used_is_privileged_where_the_simulator_gives_it(change):
    assert preset("paper", success_signal="simulator", **change).privileged
    assert not preset("paper", success_signal="simulator").privileged  # used for nothing


def test_help_names_both_values_and_the_fields_terms():
    helps = {about.name: about.help for about in ABOUT}
    assert "UTD ratio" in helps["utd_ratio"] and "paper: 1.0" in helps["utd_ratio"]
    assert "PRIVILEGED" in helps["success_signal"]
    for about in ABOUT:
        assert about.value("ours") == getattr(preset("ours"), about.name)
        assert about.value("paper") == getattr(preset("paper"), about.name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"actions": "sampled"}, 'actions is "sampled"; it must be one of mean, sample'),
        ({"utd_ratio": -1.0}, "utd_ratio is -1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"utd_ratio": float("nan")}, "utd_ratio is nan"),
    ],
)
def test_a_value_that_cannot_be_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        preset("ours", **given)


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match='no preset "best"; there are ours, paper'):
        preset("best")
