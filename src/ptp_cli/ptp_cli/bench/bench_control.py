# SPDX-License-Identifier: Apache-2.0
"""Benchmark of control latency in real time, on the real graph with one process per node."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from domain_coordinator import domain_id

from ptp_bringup.bring_up import programs
from ptp_bringup.node_environment import node_environment
from ptp_bringup.stacks import stack_named
from ptp_bringup.supervisor import Supervisor
from ptp_cli.bench.measuring import BenchSettings, Figures, available_cores, cores
from ptp_core.errors import PtpError

CORES = 2
RATE = 10.0  # Hz
TASK = "A"


def measure(settings: BenchSettings) -> Figures:
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
        return json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))["tasks"][TASK]
