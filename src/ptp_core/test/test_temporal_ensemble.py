# SPDX-License-Identifier: Apache-2.0
"""The mean of what earlier chunks say about now."""

import numpy as np
import pytest

from ptp_core.policies.temporal_ensemble import TemporalEnsemble, ensemble_weights


def test_the_oldest_of_six_predictions_weighs_most_as_in_lbps_released_code():
    expected = [0.2847, 0.2217, 0.1727, 0.1345, 0.1047, 0.0816]
    assert ensemble_weights(6) == pytest.approx(expected, abs=1e-4)


def test_predictions_for_the_same_step_are_averaged():
    ensemble = TemporalEnsemble(decay=0.0)
    chunks = [np.full((3, 2), value, np.float32) for value in (0.0, 0.3, 0.9, -0.6)]
    for number, chunk in enumerate(chunks):
        chunk[:, 1] = number + np.arange(3)  # the step that it is about
    actions = [ensemble.act(chunk) for chunk in chunks]
    assert [action[1] for action in actions] == pytest.approx([0, 1, 2, 3])
    assert [action[0] for action in actions] == pytest.approx([0.0, 0.15, 0.4, 0.2], abs=1e-6)


def test_nothing_is_left_of_chunks_before_a_reset():
    ensemble = TemporalEnsemble()
    ensemble.act(np.ones((4, 1), np.float32))
    ensemble.reset()
    assert ensemble.act(np.zeros((4, 1), np.float32)) == 0.0
