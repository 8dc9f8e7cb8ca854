# SPDX-License-Identifier: Apache-2.0
"""Run of the demo: start the sim stack in lock-step, film it, write figures and page.

Tasks that share an agent and a protocol run in one stack; these stacks run one after the other.
"""

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
from ptp_core.agents.registry import DEFAULT_METHOD, method_named
from ptp_core.data.files import claim
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.operator.episode_watcher import watching
from ptp_sim.long_tasks import ALL_TASKS, LONG_TASKS

COMMAND = "ptp demo"
LOG = "nodes.log"
OURS = ("task_*_episode_*", demo_results.PAGE, demo_results.SUMMARY, LOG)  # what a demo writes
STOPPED = 130  # exit status after Ctrl-C


@dataclass(frozen=True)
class DemoPart:
    """Tasks of the demo that one stack runs."""

    tasks: tuple[str, ...]
    checkpoint: Checkpoint
    method: str  # "": the stack's default
    protocol: str  # how scenes are drawn
    planner: str = "checkpoint"  # preset or YAML file, as the planner node takes it
    finetuned: Path | None = None  # folder of fine-tuned policies

    def longest(self, max_steps: int | None) -> int:
        """Control steps of the longest episode, where no limit is given."""
        return max_steps or max(ALL_TASKS[task].steps for task in self.tasks)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    parts: tuple[DemoPart, ...]
    episodes: int  # of each task
    seed: int
    max_steps: int | None  # control steps an episode; None: as many as its task has
    out: Path
    chosen: bool = False  # the checkpoint is not the released ones

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the order in which they run."""
        return tuple(task for part in self.parts for task in part.tasks)


def show(settings: DemoSettings) -> int:
    """Run every episode, write films, strips, figures and page; returns the exit status.

    0: every episode was finished, successful or not. Ctrl-C gives 130 and a page of the finished
    episodes. Raises InputError, ConfigError and CheckpointError before the start.
    """
    stacks = [_processes(settings, part) for part in settings.parts]
    _clear(settings.out)
    titles = {name: task.summary for name, task in ALL_TASKS.items()}
    summaries, status = [], 0
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(libraries_into(settings.out / LOG))
        counts = [len(part.tasks) * settings.episodes for part in settings.parts]
        steps = [part.longest(settings.max_steps) for part in settings.parts]
        progress = Progress(counts, steps, terminal)
        stack.callback(progress.close)
        log = stack.enter_context(NodeLog(settings.out / LOG, progress.say))
        domain = stack.enter_context(own_domain())
        progress.say(f"to look in with ROS 2 tools: export ROS_DOMAIN_ID={domain}")
        for part, processes in zip(settings.parts, stacks, strict=True):
            if status == 0:
                status = _run(settings, part, processes, titles, progress, log, domain)
            summaries.append(demo_results.gather(settings.out, part.tasks, settings.episodes))
            (settings.out / demo_results.SUMMARY).unlink(missing_ok=True)
    summary = demo_results.joined(summaries, _about(settings))
    summary["stopped"] = _stopped(status, summary)
    demo_results.write_summary(settings.out, summary)
    page = demo_results.render_page(summary, titles, _commands(settings))
    written = demo_results.write_page(settings.out, page)
    _print(summary, written)
    return status


def _run(
    settings: DemoSettings,
    part: DemoPart,
    processes: list[NodeProcess],
    titles: dict[str, str],
    progress: Progress,
    log: NodeLog,
    domain: int,
) -> int:
    """Run and film the tasks of one stack; returns its exit status."""
    steps = part.longest(settings.max_steps)
    film = Film(settings.out, titles, steps)
    started = programs(processes, log)
    nodes = {program.name for program in started}
    watcher = DemoWatcher(film, progress, list(part.tasks), steps, nodes)
    with watching(watcher, domain):
        status = Supervisor(started, node_environment(), log).run()
    progress.stage("write the films")
    if film.running is not None:  # the message of its end was lost
        found = demo_results.gather(settings.out, part.tasks, settings.episodes)
        film.end(demo_results.ending(found, *film.running))
    film.close()
    return status


def _processes(settings: DemoSettings, part: DemoPart) -> list[NodeProcess]:
    words = {
        "task": ",".join(part.tasks),
        "protocol": part.protocol,
        "episodes": str(settings.episodes),
        "seed": str(settings.seed),
        "max_steps": str(settings.max_steps or 0),
        "planner": part.planner,
        "checkpoint": str(part.checkpoint.folder),
        "finetuned": "" if part.finetuned is None else str(part.finetuned),
        "mode": "lock_step",
        "output": str(settings.out),
        "params_file": str(shared_root() / "config" / "demo.yaml"),
        "view": "false",  # the demo draws for itself
    }
    if part.method:
        words["method"] = part.method
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
    return {
        "episodes_asked": settings.episodes,
        "seed": settings.seed,
        "max_steps": max(part.longest(settings.max_steps) for part in settings.parts),
        "parts": [_about_part(part) for part in settings.parts],
        "machine": machine(),
        "version": __version__,
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": _demo_command(settings),
    }


def _about_part(part: DemoPart) -> dict[str, Any]:
    method = method_named(part.method or DEFAULT_METHOD)
    return {
        "tasks": list(part.tasks),
        "method": method.name,
        "protocol": part.protocol,
        "planner": part.planner,
        "checkpoint": _short(part.checkpoint.folder),
        "policy": part.checkpoint.sha256[f"{method.learned}.safetensors"][:12],
        "encoder": part.checkpoint.encoder_id[:12],
        "finetuned": _finetuned(part),
    }


def _demo_command(settings: DemoSettings) -> str:
    words = ["ptp", "demo", "--tasks", *settings.tasks, "--episodes", str(settings.episodes)]
    words += ["--seed", str(settings.seed)]
    if settings.max_steps is not None:
        words += ["--max-steps", str(settings.max_steps)]
    words += ["--out", _short(settings.out)]
    first = settings.parts[0]
    if first.planner != "checkpoint":
        words += ["--planner", first.planner]
    if settings.chosen:
        words += ["--finetuned", _finetuned(first)]
        words += ["--checkpoint", _short(first.checkpoint.folder)]
    return shlex.join(words)


def _commands(settings: DemoSettings) -> list[tuple[str, str]]:
    found = [("This demo", _demo_command(settings))]
    for part in settings.parts:
        folder = _short(part.checkpoint.folder)
        stack = ["ptp", "up", "sim", f"task:={part.tasks[0]}", f"checkpoint:={folder}"]
        stack += [f"protocol:={part.protocol}", f"seed:={settings.seed + 1}"]
        words = ["ptp", "evaluate", "--checkpoint", folder, "--protocol", part.protocol]
        if part.method:
            stack.append(f"method:={part.method}")
            words += ["--method", part.method]
        if part.tasks[0] in LONG_TASKS:
            words += ["--env", "ptp_sim.long_env:make_env"]
        if part.finetuned is not None:
            words += ["--finetuned", _finetuned(part)]
        words += ["--tasks", *part.tasks, "--episodes", "50", "--seed", str(settings.seed)]
        words += ["--json", f"out/evaluation_{part.tasks[0]}.json"]
        names = ", ".join(part.tasks)
        found.append((f"{part.tasks[0]} with another seed, in real time", shlex.join(stack)))
        found.append((f"Success over many episodes of {names}", shlex.join(words)))
    return found


def _finetuned(part: DemoPart) -> str:
    return "none" if part.finetuned is None else _short(part.finetuned)


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
            text += f" after {run['steps']} steps"
            if run["plan_seconds"] is not None:  # None: it plans at every step
                text += f", plan in {run['plan_seconds']:.2f} s"
        if shown["error"]:
            text += f" ({shown['error']})"
        print(text)
    if summary["stopped"]:
        print(f"{summary['stopped']} What the nodes said: {_short(written.parent / LOG)}")
    print_results(_short(written), "ptp", "up", "practice", "task:=B")
