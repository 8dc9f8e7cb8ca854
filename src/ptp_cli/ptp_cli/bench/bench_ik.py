# SPDX-License-Identifier: Apache-2.0
"""Benchmark of inverse kinematics: one solve for a tool step, and one cycle of the arm driver."""

from __future__ import annotations

import time

import numpy as np

from ptp_cli.bench.measuring import BenchSettings, Figures, cores
from ptp_core.progress import Bar

STEP = 0.025  # m, between tool positions
TURN = 0.09  # rad, largest turn of a step: an action of 1


def measure(settings: BenchSettings) -> Figures:
    """Solve along random walks through the workspace; the solutions are chained.

    Residual and joint margin are the worst of all solves, those of the workspace's corners too.
    """
    from ptp_description import sawyer_urdf_path
    from ptp_robot.action import Workspace
    from ptp_robot.kinematics import SawyerKinematics, workspace_results

    kinematics = SawyerKinematics.from_urdf(sawyer_urdf_path())
    workspace = Workspace()
    rng = np.random.default_rng(0)
    walks, steps = settings.pick(40, 2), settings.pick(100, 10)
    times, solved, residuals, margins = [], 0, [], []

    def judge(q: np.ndarray, target: np.ndarray) -> None:
        residuals.append(np.linalg.norm(kinematics.forward(q)[0] - target))
        margins.append(np.minimum(q - kinematics.lower, kinematics.upper - q).min())

    for corner, _, result in workspace_results(kinematics, workspace):
        judge(result.q, corner)
    with cores(1):
        for _ in Bar(range(walks), desc="ik", leave=False):
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
                judge(q, position)
        cycles = _cycles(settings)
    return {
        "ik_median_ms": float(np.median(times)),
        "ik_p99_ms": float(np.percentile(times, 99)),
        "ik_solved_fraction": solved / len(times),
        "ik_solves": len(times),
        "ik_residual_worst_mm": float(np.max(residuals)) * 1e3,
        "ik_joint_margin_rad": float(np.min(margins)),
        "ik_cycle_median_ms": float(np.median(cycles)),
        "ik_cycle_p99_ms": float(np.percentile(cycles, 99)),
    }


def _cycles(settings: BenchSettings) -> list[float]:
    """Times [ms] of the arm driver's cycles while a policy moves the arm in memory."""
    from ptp_robot.arm_driver import ArmDriver
    from ptp_robot.backends.fake_backend import FakeBackend
    from ptp_robot.command import Command
    from ptp_robot.robot_file import RobotConfig, read_kinematics

    now, robot = [0.0], RobotConfig()
    period, step = robot.limits.period, robot.limits.step
    backend = FakeBackend(lambda: now[0])
    driver = ArmDriver(backend, read_kinematics(robot), robot)
    times: list[float] = []

    def cycle() -> None:
        now[0] += period
        began = time.perf_counter()
        driver.step(now[0])
        times.append((time.perf_counter() - began) * 1e3)

    backend.connect()
    cycle()
    driver.enable(now[0])
    cycle()
    rng = np.random.default_rng(1)
    times.clear()
    for number in Bar(range(1, settings.pick(200, 5) + 1), desc="cycles", leave=False):
        driver.observed(number, now[0])
        motion = rng.uniform(-step, step, 3)
        command = Command(0, number, robot.base, 0.0, *motion, 0.0, -1.0, observation_seq=number)
        driver.command(command, now[0])
        for _ in range(10):
            cycle()
    return times
