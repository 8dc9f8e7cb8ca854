# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of control: inverse kinematics and driver cycles, and stacks on the real graph.

The graph runs with one process per node: latency in real time, and control steps per second.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from domain_coordinator import domain_id

from ptp_bringup.bring_up import node_environment, programs
from ptp_bringup.stacks import stack_named
from ptp_bringup.supervisor import Supervisor
from ptp_cli.bench.measuring import BenchSettings, Figures, cores, median
from ptp_cli.machine import available_cores
from ptp_cli.options import ENV
from ptp_core.config.train_config import planner_settings
from ptp_core.data.file_limits import load_json
from ptp_core.errors import PtpError
from ptp_core.progress import Bar
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate

STEP = 0.025  # m, between tool positions
TURN = 0.09  # rad, largest turn of a step: an action of 1


def measure_ik(settings: BenchSettings) -> Figures:
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


CORES = 2
RATE = 10.0  # Hz
TASK = "A"


def measure_control(settings: BenchSettings) -> Figures:
    """One episode of the sim stack without the view node, and one with it.

    The plan is made first; while the policy acts, the planner node is idle.
    """
    settings.load()  # a damaged checkpoint is an error now, not a minute's wait later
    used = min(CORES, available_cores())
    figures: Figures = {"control_cores": used, "control_rate_hz": RATE}
    with cores(used):
        for name, view in (("control", False), ("control_view", True)):
            task = _episode(settings, view)
            latency = task["control_latency_ms"]
            figures[f"{name}_latency_p50_ms"] = latency["p50"]
            figures[f"{name}_latency_p99_ms"] = latency["p99"]
            figures[f"{name}_steps"] = sum(run["steps"] for run in task["runs"])
            figures[f"{name}_steps_per_s"] = task["steps_per_second"]
            figures[f"{name}_plan_s"] = task["plan_seconds"]
    return figures


def _episode(settings: BenchSettings, view: bool) -> dict[str, Any]:
    """Figures of one episode in real time."""
    given = {
        "mode": "real_time",
        "rate": str(RATE),
        "max_steps": str(settings.pick(400, 20)),
        "view": "true" if view else "false",
    }
    return run_stack("sim", settings, given)


def run_stack(name: str, settings: BenchSettings, given: dict[str, str]) -> dict[str, Any]:
    """Run a stack to the end of its episodes; the task's figures of the summary it writes."""
    with (
        tempfile.TemporaryDirectory(prefix="ptp-bench-") as folder,
        domain_id() as domain,  # a graph of its own: no other arm may hear these commands
    ):
        given = {
            "task": TASK,
            "method": "ptp",
            "planner": "fast",
            "output": folder,
            "checkpoint": str(settings.checkpoint_folder()),
            **given,
        }
        processes = stack_named(name).processes(given)
        env = {
            **node_environment(),
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        env.pop("ROS_STATIC_PEERS", None)
        status = Supervisor(programs(processes, sys.stderr), env, sys.stderr).run()
        if status - 128 in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        if status:
            raise PtpError(f"the stack ended with exit code {status}; its lines above say why")
        return load_json(Path(folder, "summary.json"))["tasks"][TASK]


ROUNDS = 3


def measure_practice(settings: BenchSettings) -> Figures:
    """The same episodes in process, through the graph, and through it with the learner beside.

    In turns, and the medians count: the speed of a shared machine changes from minute to minute.
    """
    settings.load()  # a damaged checkpoint is an error now, not a minute's wait later
    used = min(CORES, available_cores())
    steps, episodes = settings.pick(400, 20), settings.pick(3, 1)
    config = EvaluationConfig(
        checkpoint=settings.checkpoint_folder(),
        env=ENV,
        tasks=(TASK,),
        episodes=episodes,
        max_steps=steps,
        method="ptp",  # as on the graph
        planner=planner_settings("fast"),
    )
    given = {"episodes": str(episodes), "max_steps": str(steps), "record_images": "false"}
    runs: dict[str, list[dict]] = {"alone": [], "graph": [], "learning": []}
    with cores(used):
        for _ in range(settings.pick(ROUNDS, 1)):
            runs["alone"].append(evaluate(config, num_envs=0, progress=False)["tasks"][TASK])
            for name, learn in (("graph", "false"), ("learning", "true")):
                runs[name].append(run_stack("practice", settings, {**given, "learn": learn}))
    speed = {name: median([run["steps_per_second"] for run in runs[name]]) for name in runs}
    return {
        "practice_cores": used,
        "practice_rounds": len(runs["graph"]),
        "practice_steps": steps * episodes,
        "practice_in_process_steps_per_s": speed["alone"],
        "practice_steps_per_s": speed["graph"],
        "practice_learning_steps_per_s": speed["learning"],
        "practice_ratio": speed["graph"] / speed["alone"],
        "practice_latency_p99_ms": median(
            [run["control_latency_ms"]["p99"] for run in runs["graph"]]
        ),
    }
