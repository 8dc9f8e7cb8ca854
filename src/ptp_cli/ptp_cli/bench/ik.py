# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics: one solve for a step of the tool, as the simulator asks at every step."""

from __future__ import annotations

import time

import numpy as np
from tqdm import trange

from ptp_cli.bench.settings import BenchSettings, Figures
from ptp_cli.bench.timing import cores

STEP = 0.025  # m, between tool positions
TURN = 0.09  # rad, largest turn of a step: an action of 1


def measure(settings: BenchSettings) -> Figures:
    """Solve along random walks through the workspace; the solutions are chained."""
    from ptp_description import sawyer_urdf_path
    from ptp_robot.action import Workspace
    from ptp_robot.kinematics import SawyerKinematics

    kinematics = SawyerKinematics.from_urdf(sawyer_urdf_path())
    workspace = Workspace()
    rng = np.random.default_rng(0)
    walks, steps = settings.pick(40, 2), settings.pick(100, 10)
    times, solved = [], 0
    with cores(1):
        for _ in trange(walks, desc="ik", leave=False):
            position = rng.uniform(workspace.lower, workspace.upper)
            yaw = 0.0
            q = kinematics.solve(kinematics.rest_configuration, position, yaw, iterations=60).q
            for _ in range(steps):
                direction = rng.normal(size=3)
                step = STEP * direction / np.linalg.norm(direction)
                position = workspace.clip(position + step)
                yaw = float(np.clip(yaw + rng.uniform(-TURN, TURN), -1.0, 1.0))
                began = time.perf_counter()
                result = kinematics.solve(q, position, yaw)
                times.append((time.perf_counter() - began) * 1e3)
                q = result.q
                solved += result.ok
    return {
        "ik_median_ms": float(np.median(times)),
        "ik_p99_ms": float(np.percentile(times, 99)),
        "ik_solved_fraction": solved / len(times),
        "ik_solves": len(times),
    }
