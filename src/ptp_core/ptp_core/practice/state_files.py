# SPDX-License-Identifier: Apache-2.0
"""The files of a practice state, by which env workers get it and an interrupted run goes on."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ptp_core.errors import CheckpointError
from ptp_core.planners.plan_buffer import load_buffers, save_buffers
from ptp_core.practice.epoch import PracticeState

WEIGHTS, BUFFERS, PLANS = "weights.safetensors", "buffers.safetensors", "plans.safetensors"


def save_state(state: PracticeState, folder: Path) -> None:
    """Write all into ``folder``; of plan buffers those of the first planner."""
    (folder / WEIGHTS).write_bytes(save(state.learned.state_dict()))
    if state.buffers:
        save_buffers(folder / BUFFERS, state.buffers[0])
    state.library.save(folder / PLANS)


def load_state(state: PracticeState, folder: Path) -> None:
    """Let ``state`` be the one in ``folder``. Raises CheckpointError where a file does not fit."""
    try:
        state.learned.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: cannot be used ({error})") from error
    for buffers in state.buffers:
        load_buffers(folder / BUFFERS, buffers)
    state.library.plans.clear()
    state.library.load(folder / PLANS)
