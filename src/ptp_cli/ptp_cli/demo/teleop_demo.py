# SPDX-License-Identifier: Apache-2.0
"""Run of the teleop demo: record demonstrations, import them, fine-tune and compare the policy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_bringup.bring_up import node_environment, programs
from ptp_bringup.stacks import stack_named
from ptp_bringup.supervisor import Supervisor
from ptp_cli import __version__
from ptp_cli.closing_lines import print_results
from ptp_cli.demo.demo_progress import NodeLog
from ptp_cli.machine import git_commit, machine
from ptp_cli.process_setup import own_domain
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EncodedDataset, encode_dataset
from ptp_core.data.files import claim, write_atomically
from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
from ptp_core.learning.online_learner import Agreement, agreement, fine_tune
from ptp_core.progress import Bar
from ptp_core.training.checkpoint import Checkpoint, save_again
from ptp_nodes.episodes.recorder_client import watching_recorder


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


RECORDINGS, DATA, REPORT = "recordings", "demonstrations.hdf5", "import.json"
LOG, RESULT, TUNED = "nodes.log", "result.json", "checkpoint"
SETS = ("training", "held_out")


@dataclass(frozen=True)
class Settings:
    """What to record, and how long to learn."""

    episodes: int
    tasks: tuple[str, ...]
    seed: int
    steps: int  # gradient steps
    held_out: float  # part of the demonstrations
    rate: float  # control steps a second, Hz
    learning_rate: float
    out: Path


def demonstrate(settings: Settings, checkpoint: Checkpoint) -> int:
    """Record, import, fine-tune, compare; the exit status.

    1 where recording did not end well. Ctrl-C leaves the recordings; while learning it leaves the
    result of the steps made so far, too.
    """
    out = settings.out
    claim(out, "ptp demo-teleop", [RECORDINGS, TUNED, DATA, REPORT, LOG, RESULT])
    began = time.monotonic()
    status = record(
        out / RECORDINGS,
        out / LOG,
        episodes=settings.episodes,
        tasks=settings.tasks,
        seed=settings.seed,
        rate=settings.rate,
        checkpoint=checkpoint.folder,
    )
    if status:
        print(f"recording ended with status {status}; what the nodes said: {out / LOG}")
        return status
    recorded = time.monotonic() - began
    summary = import_bags(
        find_sources([out / RECORDINGS]),
        out / DATA,
        report=out / REPORT,
        progress=lambda sources: Bar(sources, desc="import", unit="bag"),
    )
    for line in report_lines(summary):
        print(line)
    training, held_out = _encoded(out / DATA, checkpoint).split(1.0 - settings.held_out)
    before = _compare(checkpoint, training, held_out)
    done, seconds = _learn(settings, checkpoint, training)
    after = _compare(checkpoint, training, held_out)
    result: dict[str, Any] = {
        "demonstrations": len(training.lengths) + len(held_out.lengths),
        "held_out": len(held_out.lengths),
        "steps_shown": summary.steps,
        "recording_seconds": recorded,
        "gradient_steps": done,
        "learning_seconds": seconds,
        "before": before,
        "after": after,
        "settings": {**dataclasses.asdict(settings), "out": str(out)},
        "version": __version__,
        "git_commit": git_commit(),
        "machine": machine(),
    }
    save_again(out / TUNED, checkpoint, {"demo_teleop": result})
    text = json.dumps(result, indent=2) + "\n"
    write_atomically(out / RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    _print(result, out)
    return 0 if done == settings.steps else 130


def _encoded(path: Path, checkpoint: Checkpoint) -> EncodedDataset:
    arrays = Dataset(path).load()
    with Bar(total=len(arrays.actions), desc="encode", unit="image") as bar:
        return encode_dataset(checkpoint.vqvae, arrays, checkpoint.encoder_id, bar.update)


def _compare(checkpoint: Checkpoint, *sets: EncodedDataset) -> dict[str, dict[str, float]]:
    found: list[Agreement] = [agreement(checkpoint, data) for data in sets]
    return {name: dataclasses.asdict(one) for name, one in zip(SETS, found, strict=True)}


def _learn(
    settings: Settings, checkpoint: Checkpoint, training: EncodedDataset
) -> tuple[int, float]:
    """Gradient steps made, and how long they took; Ctrl-C ends it early."""
    began, done = time.monotonic(), 0
    with Bar(total=settings.steps, desc="learn", unit="step") as bar:

        def step(scalars: dict[str, float]) -> None:
            nonlocal done
            done += 1
            bar.set_postfix(action_mse=f"{scalars['policy/action_mse']:.4f}", refresh=False)
            bar.update()

        try:
            fine_tune(
                checkpoint,
                training,
                settings.steps,
                learning_rate=settings.learning_rate,
                seed=settings.seed,
                progress=step,
            )
        except KeyboardInterrupt:
            Bar.write("stopped: comparing after the steps made so far")
    return done, time.monotonic() - began


def _print(result: dict[str, Any], out: Path) -> None:
    print(f"{'':22}{'learned from':>22}{'held out':>22}")
    for name, word in (
        ("action_distance", "distance of actions"),
        ("policy_loss", "policy loss"),
        ("q_loss", "Q loss"),
        ("value_loss", "value loss"),
    ):
        cells = [
            f"{result['before'][data][name]:.4f} -> {result['after'][data][name]:.4f}"
            for data in SETS
        ]
        print(f"{word:22}" + "".join(f"{cell:>22}" for cell in cells))
    print_results(out / RESULT, "ptp", "evaluate", "--checkpoint", out / TUNED)
