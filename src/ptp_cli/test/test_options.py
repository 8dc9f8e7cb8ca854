# SPDX-License-Identifier: Apache-2.0
"""Options that commands share: what they mean, and which values they refuse."""

import argparse
from pathlib import Path

import pytest

from ptp_cli.options import (
    add_checkpoint,
    add_finetuned,
    add_num_envs,
    finetuned_folder,
    released_finetuned,
    require_above_zero,
    require_at_least,
)
from ptp_core.errors import InputError


def parsed(*words):
    parser = argparse.ArgumentParser()
    for add in (add_checkpoint, add_finetuned, add_num_envs):
        add(parser)
    parser.add_argument("--max-steps", type=float)
    return parser.parse_args(words)


def test_fine_tuned_policies_are_those_of_a_folder_the_released_ones_or_none():
    assert finetuned_folder(parsed()) is None
    assert finetuned_folder(parsed("--finetuned")) == released_finetuned()
    assert finetuned_folder(parsed("--finetuned", "mine")) == Path("mine")


def test_a_number_below_its_least_is_refused_by_the_options_name():
    require_at_least(parsed("--num-envs", "1"), num_envs=1, max_steps=1)  # not given: its default
    with pytest.raises(InputError, match=r"--max-steps is 0\.0; it must be at least 1"):
        require_at_least(parsed("--max-steps", "0"), num_envs=0, max_steps=1)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_time_that_never_ends_or_is_none_is_refused(value):
    require_above_zero(parsed("--max-steps", "0.1"), "max_steps")
    with pytest.raises(InputError, match=f"--max-steps is {value}; it must be above 0"):
        require_above_zero(parsed("--max-steps", value), "max_steps")
