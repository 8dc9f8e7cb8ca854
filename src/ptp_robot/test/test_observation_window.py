# SPDX-License-Identifier: Apache-2.0
"""The law of ages: which observations may still be answered, whoever asks, in whatever order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_robot.command import ANSWERS, FEWEST, ObservationWindow

LIMIT, MOST = 0.3, 1.0
SAME = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def window(**options):
    window = ObservationWindow(LIMIT, **options)
    window.observed(7, 10.0)
    return window


def test_what_is_new_is_answered_once():
    seen = window()
    assert seen.arrived(7, 10.1) == seen.refusal(7, 10.29) == ""
    seen.moved(7, 10.1)
    assert "too late" in seen.refusal(7, 10.1)


def test_an_old_observation_is_refused_with_both_ages_though_none_is_newer():
    assert "observation 7 is 2.16 s old, at most 0.30 s" in window().arrived(7, 12.16)


@pytest.mark.parametrize("seq", [8, 1000, 2**32 - 1])
def test_a_number_beyond_the_newest_is_refused_and_changes_nothing(seq):
    seen = window()
    assert f"observation {seq} was never published, the newest is 7" in seen.arrived(seq, 10.0)
    assert seen.arrived(7, 10.0) == ""


@pytest.mark.parametrize("seq", [1, 6])
def test_a_number_that_this_receiver_did_not_publish_is_refused(seq):
    assert "too late" in window().arrived(seq, 10.0)


def test_zero_answers_nothing():
    assert "answers no observation" in window().arrived(0, 10.0)
    assert "answers no observation" in ObservationWindow(LIMIT).arrived(0, 10.0)
    assert "newest is none" in ObservationWindow(LIMIT).arrived(1, 10.0)


def test_an_observation_of_another_scene_is_refused():
    seen = window()
    seen.void()
    assert "too late" in seen.arrived(7, 10.0)


def test_answers_may_be_late_by_so_many_observations():
    seen = window(patience=2)
    for seq in (8, 9):
        seen.observed(seq, 10.0)
    assert seen.arrived(7, 10.0) == ""
    seen.observed(10, 10.0)
    assert "too late" in seen.arrived(7, 10.0)


def answered(seen, seconds, count):
    """So many observations, each answered after so long; the time."""
    now = 100.0
    for seq in range(seen.newest + 1, seen.newest + 1 + count):
        seen.observed(seq, now)
        now += seconds
        if not seen.arrived(seq, now):
            seen.moved(seq, now)
    return now


def test_the_limit_follows_what_answers_take_up_to_a_bound():
    seen = window(most=MOST)
    answered(seen, 0.02, ANSWERS)
    assert seen.limit == LIMIT
    answered(seen, 0.2, ANSWERS)
    assert seen.limit == pytest.approx(0.6)
    answered(seen, 0.9, ANSWERS)  # refused at first: that, too, is what answers take
    assert seen.limit == MOST
    answered(seen, 0.02, ANSWERS)
    assert seen.limit == LIMIT


def test_a_few_old_answers_change_no_limit():
    seen = window(most=MOST)
    answered(seen, 0.02, ANSWERS)
    answered(seen, 2.0, FEWEST)
    assert seen.limit == LIMIT
    first = window(most=MOST)
    answered(first, 2.0, FEWEST - 1)
    assert first.limit == LIMIT


def test_without_room_the_limit_stays():
    seen = window()
    answered(seen, 0.25, ANSWERS)
    assert seen.limit == LIMIT


numbers = st.one_of(st.integers(0, 12), st.sampled_from([2**31, 2**32 - 2, 2**32 - 1]))
events = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0.0, 0.5)),
        st.tuples(st.just("image"), st.none()),
        st.tuples(st.just("image"), st.none()),
        st.tuples(st.just("answer"), numbers),
        st.tuples(st.just("answer"), numbers),
    ),
    max_size=60,
)


@SAME
@given(events, st.sampled_from([None, MOST]), st.sampled_from([0, 2, 100]))
def test_no_forged_sequence_passes_what_is_old_unknown_or_answered_nor_locks_anybody_out(
    sequence, most, patience
):
    seen, now, published, used = ObservationWindow(LIMIT, most, patience), 0.0, {}, set()
    for what, value in sequence:
        if what == "wait":
            now += value
        elif what == "image":
            published[len(published) + 1] = now
            seen.observed(len(published), now)
        else:
            if seen.arrived(value, now):
                continue
            assert value in published and value not in used
            assert now - published[value] <= seen.limit <= (most or LIMIT)
            assert value >= len(published) - patience
            used.update(range(value + 1))
            seen.moved(value, now)
    # Whatever came before, an honest answer in time passes.
    seen.observed(len(published) + 1, now)
    assert seen.arrived(len(published) + 1, now + 0.9 * LIMIT) == ""
