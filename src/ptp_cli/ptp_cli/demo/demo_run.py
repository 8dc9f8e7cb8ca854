# SPDX-License-Identifier: Apache-2.0
"""Run of the demo: start the sim stack in lock-step, film it, write figures and page."""

from __future__ import annotations

import contextlib
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_bringup.bring_up import node_environment, programs
from ptp_bringup.stacks import NodeProcess, stack_named
from ptp_bringup.supervisor import Supervisor
from ptp_cli import __version__
from ptp_cli.closing_lines import print_results
from ptp_cli.demo import demo_results
from ptp_cli.demo.demo_film import Film
from ptp_cli.demo.demo_progress import DemoWatcher, NodeLog, Progress
from ptp_cli.machine import git_commit, machine
from ptp_cli.options import shared_root
from ptp_cli.process_setup import libraries_into, own_domain
from ptp_core.data.files import claim
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.operator.episode_watcher import watching
from ptp_sim.tasks import TASKS

COMMAND = "ptp demo"
LOG = "nodes.log"
OURS = ("task_*_episode_*", demo_results.PAGE, demo_results.SUMMARY, LOG)  # what a demo writes
STOPPED = 130  # exit status after Ctrl-C


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    tasks: tuple[str, ...]
    episodes: int  # of each task
    seed: int
    max_steps: int | None  # control steps an episode; None: as many as its task has
    planner: str  # preset or YAML file, as the planner node takes it
    out: Path
    checkpoint: Checkpoint
    finetuned: Path | None = None  # folder of fine-tuned policies

    @property
    def longest(self) -> int:
        """Control steps of the longest episode."""
        return self.max_steps or max(TASKS[task].steps for task in self.tasks)


def show(settings: DemoSettings) -> int:
    """Run every episode, write films, strips, figures and page; returns the exit status.

    0: every episode was finished, successful or not. Ctrl-C gives 130 and a page of the finished
    episodes. Raises InputError, ConfigError and CheckpointError before the start.
    """
    processes = _processes(settings)
    _clear(settings.out)
    titles = {name: task.summary for name, task in TASKS.items()}
    film = Film(settings.out, titles, settings.longest)
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(libraries_into(settings.out / LOG))
        episodes = len(settings.tasks) * settings.episodes
        progress = Progress(episodes, settings.longest, terminal)
        stack.callback(progress.close)
        log = stack.enter_context(NodeLog(settings.out / LOG, progress.say))
        started = programs(processes, log)
        domain = stack.enter_context(own_domain())
        progress.say(f"to look in with ROS 2 tools: export ROS_DOMAIN_ID={domain}")
        nodes = {program.name for program in started}
        watcher = DemoWatcher(film, progress, list(settings.tasks), settings.longest, nodes)
        with watching(watcher, domain):
            status = Supervisor(started, node_environment(), log).run()
        progress.stage("write the films")
        if film.running is not None:  # the message of its end was lost
            found = demo_results.gather(settings.out, settings.tasks, settings.episodes, {})
            film.end(demo_results.ending(found, *film.running))
        film.close()
    about = _about(settings)
    summary = demo_results.gather(settings.out, settings.tasks, settings.episodes, about)
    summary["stopped"] = _stopped(status, summary)
    demo_results.write_summary(settings.out, summary)
    page = demo_results.render_page(summary, titles, _commands(settings))
    written = demo_results.write_page(settings.out, page)
    _print(summary, written)
    return status


def _processes(settings: DemoSettings) -> list[NodeProcess]:
    words = {
        "task": ",".join(settings.tasks),
        "episodes": str(settings.episodes),
        "seed": str(settings.seed),
        "max_steps": str(settings.max_steps or 0),
        "planner": settings.planner,
        "checkpoint": str(settings.checkpoint.folder),
        "finetuned": "" if settings.finetuned is None else str(settings.finetuned),
        "mode": "lock_step",
        "output": str(settings.out),
        "params_file": str(shared_root() / "config" / "demo.yaml"),
        "view": "false",  # the demo draws for itself
    }
    return stack_named("sim").processes(words)


def _clear(folder: Path) -> None:
    """Make the folder, and remove files of an earlier demo. InputError where it is no demo's."""
    claim(folder, COMMAND)
    leftovers = [path.name for pattern in OURS for path in folder.glob(pattern)]
    claim(folder, COMMAND, leftovers)


def _stopped(status: int, summary: dict[str, Any]) -> str:
    """Reason why not all episodes were finished; empty if they were."""
    if status == 0:
        return ""
    if status == STOPPED:
        return "It was stopped by hand."
    if summary["failures"]:
        return "Some episodes were broken off."
    return f"A node died, exit status {status}."


def _about(settings: DemoSettings) -> dict[str, Any]:
    files = settings.checkpoint.sha256
    return {
        "episodes_asked": settings.episodes,
        "seed": settings.seed,
        "max_steps": settings.longest,
        "planner": settings.planner,
        "checkpoint": {
            "folder": _short(settings.checkpoint.folder),
            "policy": files["iql.safetensors"][:12],
            "encoder": settings.checkpoint.encoder_id[:12],
        },
        "finetuned": _finetuned(settings),
        "machine": machine(),
        "version": __version__,
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": _demo_command(settings),
    }


def _demo_command(settings: DemoSettings) -> str:
    words = ["ptp", "demo", "--tasks", *settings.tasks, "--episodes", str(settings.episodes)]
    words += ["--seed", str(settings.seed), "--planner", settings.planner]
    if settings.max_steps is not None:
        words += ["--max-steps", str(settings.max_steps)]
    words += ["--out", _short(settings.out)]
    words += ["--finetuned", _finetuned(settings)]
    return shlex.join([*words, "--checkpoint", _short(settings.checkpoint.folder)])


def _commands(settings: DemoSettings) -> list[tuple[str, str]]:
    folder = shlex.quote(_short(settings.checkpoint.folder))
    tasks, seed = settings.tasks, settings.seed
    planner = shlex.quote(settings.planner)
    tuned = f" --finetuned {shlex.quote(_finetuned(settings))}" if settings.finetuned else ""
    return [
        ("This demo", _demo_command(settings)),
        (
            "Another scene, with everything on the table moved a little, in real time",
            f"ptp up sim task:={tasks[0]} protocol:=varied seed:={seed + 1} checkpoint:={folder}",
        ),
        (
            "Success over many episodes",
            f"ptp evaluate --tasks {' '.join(tasks)} --episodes 50 --seed {seed} "
            f"--planner {planner} --checkpoint {folder}{tuned} --json out/evaluation.json",
        ),
        (
            "The same policy without its planner",
            f"ptp evaluate --tasks {' '.join(tasks)} --method model_free --episodes 50 "
            f"--seed {seed} --checkpoint {folder} --json out/model_free.json",
        ),
    ]


def _finetuned(settings: DemoSettings) -> str:
    return "none" if settings.finetuned is None else _short(settings.finetuned)


def _short(path: Path) -> str:
    """Relative to the working folder where the path lies below it."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def _print(summary: dict[str, Any], written: Path) -> None:
    for shown in summary["shown"]:
        run = next(
            (
                run
                for run in summary["tasks"].get(shown["task"], {}).get("runs", [])
                if run["episode"] == shown["episode"]
            ),
            None,
        )
        text = f"task {shown['task']}: {shown['outcome']}"
        if run is not None:
            text += f" after {run['steps']} steps, plan in {run['plan_seconds']:.2f} s"
        if shown["error"]:
            text += f" ({shown['error']})"
        print(text)
    if summary["stopped"]:
        print(f"{summary['stopped']} What the nodes said: {_short(written.parent / LOG)}")
    print_results(_short(written), "ptp", "up", "practice", "task:=B")
