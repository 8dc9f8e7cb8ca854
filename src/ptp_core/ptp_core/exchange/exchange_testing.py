# SPDX-License-Identifier: Apache-2.0
"""Test data: trajectories with every column, and data sets as other programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptp_core.data.trajectory import (
    Channel,
    Metadata,
    Segment,
    Target,
    Trajectory,
    cartesian_channels,
)
from ptp_core.exchange import lerobot_layout as layout

DESCRIPTION = {"env": "ptp_core.toy_env:make_env", "env_kwargs": {}, "step_seconds": 0.1}
POSE = tuple(Channel(name, "m") for name in ("x", "y", "z"))


def demonstration(
    index: int,
    steps: int = 12,
    success: bool | None = True,
    cameras: Mapping[str, tuple[int, int]] | None = None,
) -> Trajectory:
    """A trajectory of random numbers, which depend on ``index`` alone.

    ``cameras``: height and width by name; None: one of 48 x 48.
    """
    rng = np.random.default_rng(index)
    actions = rng.uniform(-1, 1, (steps, 5)).astype(np.float32)
    target = Target("can_xy", (0.1, 0.2), "m", "tray")
    return Trajectory(
        index=index,
        images={
            name: smooth(rng, steps, *size)
            for name, size in (cameras or {"camera": (48, 48)}).items()
        },
        actions=actions,
        rewards=np.eye(steps, dtype=np.float32)[-1] * bool(success),
        metadata=Metadata(
            instruction=f"put the can on the tray, {index % 2}",
            primitive="pick",
            target=target,
            success=success,
            source="scripted",
            segments=(Segment(0, steps, "pick", target, "put it down", success, steps - 2),),
            scene={"can_x": 0.5},
            extra={"seed": index, "label": "success" if success else "failure"},
        ),
        proprioception=rng.normal(size=(steps, 3)).astype(np.float32),
        action_channels=cartesian_channels(0.05, 0.1),
        proprioception_channels=POSE,
        observations={
            "joint_positions": rng.normal(size=(steps, 2)),
            "force": rng.normal(size=(steps, 1)).astype(np.float32),
            layout.INTERVENTION: rng.random(steps) < 0.5,
            layout.STAMP: np.arange(steps) * 10**8 + 5,
        },
        expert_actions=actions * np.float32(0.5),
    )


def smooth(rng: np.random.Generator, steps: int, height: int, width: int) -> np.ndarray:
    """Images uint8 (T, H, W, 3) that a video codec keeps well: gradients that move."""
    rows = np.linspace(0, 120, height)[:, None, None]
    columns = np.linspace(0, 80, width)[None, :, None]
    times = np.arange(steps)[:, None, None, None] * 2
    return (rows + columns + times + rng.integers(0, 30, 3)).astype(np.uint8)


def same_trajectories(one: Trajectory, other: Trajectory) -> bool:
    """Whether index, metadata, channels, and every array with its dtype and shape are equal."""

    def arrays(trajectory: Trajectory) -> dict[str, np.ndarray | None]:
        return {
            "actions": trajectory.actions,
            "rewards": trajectory.rewards,
            "proprioception": trajectory.proprioception,
            "expert_actions": trajectory.expert_actions,
            **{f"images/{name}": values for name, values in trajectory.images.items()},
            **{f"observations/{name}": v for name, v in trajectory.observations.items()},
        }

    def known(trajectory: Trajectory) -> tuple[Any, ...]:
        channels = (trajectory.action_channels, trajectory.proprioception_channels)
        return trajectory.index, trajectory.metadata, channels

    mine, others = arrays(one), arrays(other)
    return (
        known(one) == known(other)
        and mine.keys() == others.keys()
        and all(
            np.array_equal(mine[name], others[name])
            and getattr(mine[name], "dtype", None) == getattr(others[name], "dtype", None)
            for name in mine
        )
    )


def read_table(path: Path) -> Any:
    """The pyarrow table of a parquet file."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False).read(use_threads=False)


def write_robomimic(path: Path, steps: int = 12, episodes: int = 3) -> list[dict[str, Any]]:
    """A file as robomimic has it for robosuite's OSC_POSE; returns the arrays of each episode."""
    rng = np.random.default_rng(0)
    written = []
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = steps * episodes
        settings = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(settings)
        for number in range(episodes):
            arrays = {
                "actions": rng.uniform(-1, 1, (steps, 7)),
                "rewards": np.eye(steps)[-1] * (number != 1),
                "dones": np.eye(steps, dtype=np.int64)[-1],
                "obs/agentview_image": smooth(rng, steps, 84, 84),
                "obs/robot0_eef_pos": rng.normal(size=(steps, 3)),
            }
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = steps
            for name, values in arrays.items():
                demo[name] = values
            written.append(arrays)
        file["mask/train"] = np.array(["demo_0", "demo_2"], dtype="S")
    return written
