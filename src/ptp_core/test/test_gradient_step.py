# SPDX-License-Identifier: Apache-2.0
"""A step follows the gradient of this loss alone, no longer than asked."""

import pytest
import torch

from ptp_core.learning.gradient_step import gradient_step


@pytest.mark.parametrize(("clip", "moved"), [(0.0, [3.0, 4.0]), (1.0, [0.6, 0.8])])
def test_a_step_is_clipped_by_the_norm_over_all_parameters(clip, moved):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": [each]} for each in parameters], lr=1.0)
    for each in parameters:
        each.grad = torch.full((1,), 100.0)  # of an earlier loss
    gradient_step(-(3.0 * parameters[0] + 4.0 * parameters[1]).sum(), optimiser, clip)
    assert torch.cat(parameters).tolist() == pytest.approx(moved, abs=1e-4)
