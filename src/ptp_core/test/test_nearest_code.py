# SPDX-License-Identifier: Apache-2.0
"""Nearest codes: by distances one by one, plainly and fast."""

import pytest
import torch

from ptp_core.encoders.nearest_code import CHUNK, nearest_code, nearest_code_fast
from ptp_core.tiny_networks import rng


@pytest.mark.parametrize("nearest", [nearest_code, nearest_code_fast])
def test_a_nearest_code_is_that_of_the_least_distance(nearest):
    vectors = torch.randn(40, 5, generator=rng(0))
    codebook = torch.randn(64, 5, generator=rng(1))
    differences = vectors[:, None].double() - codebook[None].double()
    assert torch.equal(nearest(vectors, codebook), differences.square().sum(2).argmin(1))


@pytest.mark.parametrize("vectors", [0, 1, CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("codes", [16, 512, 500])  # 500 codes cannot be parted in 16
def test_the_fast_way_finds_the_codes_that_the_plain_way_finds(vectors, codes):
    vectors = torch.randn(vectors, 5, generator=rng(2), dtype=torch.float64)
    codebook = torch.randn(codes, 5, generator=rng(3), dtype=torch.float64)
    plain, fast = nearest_code(vectors, codebook), nearest_code_fast(vectors, codebook)
    assert fast.dtype == torch.int64
    assert torch.equal(fast, plain)


def test_of_equal_codes_the_fast_way_takes_one_of_the_nearest():
    codebook = torch.randn(16, 5, generator=rng(4)).repeat(4, 1)
    vectors = torch.randn(30, 5, generator=rng(5))
    found = nearest_code_fast(vectors, codebook)
    assert torch.equal(found % 16, nearest_code(vectors, codebook) % 16)
