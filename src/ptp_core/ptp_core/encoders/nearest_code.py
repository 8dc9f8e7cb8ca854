# SPDX-License-Identifier: Apache-2.0
"""Nearest codebook entry of a vector: a plain version, and a fast one for planners."""

from __future__ import annotations

import torch

CHUNK = 512  # vectors a matmul, so that the distances stay in the cache
CUDA_CHUNK = 1 << 16  # vectors a matmul, which bounds the memory
BLOCKS = 16  # parts of the codebook


def nearest_code(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Index (B,) of the code (of ``codebook`` (C, E)) nearest to each of ``vectors`` (B, E).

    argmin over c of |x - c|^2 / 2 = |x|^2 / 2 + |c|^2 / 2 - x.c, where |x|^2 is the same
    for all c.
    """
    half_norms = codebook.square().sum(1) / 2
    return torch.addmm(half_norms, vectors, codebook.t(), alpha=-1).argmin(1)


def nearest_code_fast(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Return what `nearest_code` returns; in a tie, any of the nearest codes.

    On a CPU, torch vectorises the minimum over a long axis, but not the argmin. So find the best
    column of a 16-row table of the codes by minima first, then the best row in that column.
    """
    if vectors.is_cuda or len(codebook) % BLOCKS:
        chunks = vectors.split(CUDA_CHUNK if vectors.is_cuda else CHUNK)
        return torch.cat([nearest_code(chunk, codebook) for chunk in chunks])
    half_norms, matrix = codebook.square().sum(1) / 2, codebook.t()
    size = len(codebook)
    columns = size // BLOCKS
    nearest = torch.empty(len(vectors), dtype=torch.int64)
    buffer = vectors.new_empty(min(len(vectors), CHUNK), size)
    for first in range(0, len(vectors), CHUNK):
        chunk = vectors[first : first + CHUNK]
        table = buffer[: len(chunk)]
        torch.addmm(half_norms, chunk, matrix, alpha=-1, out=table)
        table = table.view(-1, BLOCKS, columns)
        column = table.amin(1).argmin(1)
        picks = column[:, None, None].expand(-1, BLOCKS, 1)
        row = table.gather(2, picks).squeeze(2).argmin(1)
        nearest[first : first + len(chunk)] = row * columns + column
    return nearest
