# SPDX-License-Identifier: Apache-2.0
"""Record demonstrations: the teleop stack in lock-step, with the gamepad that nobody holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ptp_bringup.bring_up import programs
from ptp_bringup.node_environment import node_environment
from ptp_bringup.stacks import stack_named
from ptp_bringup.supervisor import Supervisor
from ptp_cli.demo.node_log import NodeLog
from ptp_cli.domain import own_domain
from ptp_core.progress import Bar
from ptp_nodes.recording_watch import watching_recorder


def record(
    folder: Path,
    log: Path,
    *,
    episodes: int,
    tasks: tuple[str, ...],
    seed: int,
    rate: float,
    checkpoint: Path,
) -> int:
    """Record demonstrations into the session ``folder``; the stack's exit status.

    The nodes' lines go to the file ``log``, and to the terminal where they tell of trouble.
    """
    processes = stack_named("teleop").processes(
        {
            "source": "script",
            "mode": "lock_step",
            "task": ",".join(tasks),
            "episodes": str(episodes),
            "seed": str(seed),
            "rate": str(rate),
            "speed": "1.0",  # what was shown is then not slower than what the policy does
            "record": str(folder),
            "record_images": "false",
            "view": "false",
            "checkpoint": str(checkpoint),
        }
    )
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(Bar(total=episodes, desc="record", unit="episode"))
        lines = stack.enter_context(NodeLog(log, lambda line: Bar.write(line)))
        started = programs(processes, lines)
        domain = stack.enter_context(own_domain())
        Bar.write(f"to look in with ROS 2 tools: export ROS_DOMAIN_ID={domain}")
        stack.enter_context(watching_recorder(_shower(bar), domain))
        return Supervisor(started, node_environment(), lines).run()


def _shower(bar: Bar) -> Callable[[int, int], None]:
    def show(episodes: int, steps: int) -> None:
        bar.set_postfix_str(f"step {steps}" if steps else "", refresh=False)
        bar.update(min(episodes, bar.total) - bar.n)
        bar.refresh()

    return show
