# SPDX-License-Identifier: Apache-2.0
"""Main function of ``ptp``: parse the command line and run a subcommand.

Subcommands import their dependencies when they run, so that `ptp --help` is fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ptp_cli import __version__
from ptp_cli.commands import (
    bench,
    camera,
    completion,
    demo,
    diagnose,
    diagnosis,
    episodes,
    evaluate,
    exchange,
    fakes,
    film,
    practice,
    reports,
    stack,
    sweep,
    training,
    trials,
    viewers,
)
from ptp_cli.ctrl_c import ctrl_c_kept
from ptp_cli.options import let_in
from ptp_cli.shell_completion import complete_words
from ptp_core.errors import InputError, PtpError

Add = Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None]
Run = Callable[[argparse.Namespace], int]

# Commands in the order of `ptp --help`: those for new users, then the others by subject.
COMMANDS: dict[str, tuple[Add, Run]] = {
    "demo": (demo.add_demo, demo.run_demo),
    "demo-teleop": (demo.add_demo_teleop, demo.run_demo_teleop),
    "up": (stack.add_up, stack.run_up),
    "doctor": (diagnosis.add_doctor, diagnosis.run_doctor),
    "arm": (stack.add_arm, stack.run_arm),
    "monitor": (stack.add_monitor, stack.run_monitor),
    "foxglove": (viewers.add_foxglove, viewers.run_foxglove),
    "camera": (camera.add_camera, camera.run_camera),
    "goal": (camera.add_goal, camera.run_goal),
    "episodes": (episodes.add_episodes, episodes.run_episodes),
    "import-bag": (episodes.add_import_bag, episodes.run_import_bag),
    "export": (exchange.add_export, exchange.run_export),
    "import": (exchange.add_import, exchange.run_import),
    "collect": (training.add_collect, training.run_collect),
    "pretrain": (training.add_pretrain, training.run_pretrain),
    "retrain-classifier": (
        training.add_retrain_classifier,
        training.run_retrain_classifier,
    ),
    "pretrain-baselines": (training.add_pretrain_baselines, training.run_pretrain_baselines),
    "pretrain-lbp": (training.add_pretrain_lbp, training.run_pretrain_lbp),
    "pretrain-states": (training.add_pretrain_states, training.run_pretrain_states),
    "practice": (practice.add_practice, practice.run_practice),
    "evaluate": (evaluate.add_evaluate, evaluate.run_evaluate),
    "diagnose": (diagnose.add_diagnose, diagnose.run_diagnose),
    "film": (film.add_film, film.run_film),
    "sweep": (sweep.add_sweep, sweep.run_sweep),
    "report": (reports.add_report, reports.run_report),
    "results": (reports.add_results, reports.run_results),
    "convert-checkpoint": (training.add_convert_checkpoint, training.run_convert_checkpoint),
    "fake-sawyer": (fakes.add_fake_sawyer, fakes.run_fake_sawyer),
    "fake-controllers": (fakes.add_fake_controllers, fakes.run_fake_controllers),
    "bench": (bench.add_bench, bench.run_bench),
    "soak": (trials.add_soak, trials.run_soak),
    "two-machines": (trials.add_two_machines, trials.run_two_machines),
    "security": (diagnosis.add_security, diagnosis.run_security),
    "completion": (completion.add_completion, completion.run_completion),
    "version": (diagnosis.add_version, diagnosis.run_version),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="ptp",
        description="Planning to Practice: a robot arm that reaches goal images by planning "
        "subgoals, in simulation and on ROS 2.",
        epilog="`ptp COMMAND --help` explains a command.",
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"ptp {__version__}")
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, (add, run) in COMMANDS.items():
        add(subparsers)
        subparsers.choices[name].set_defaults(run=run)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    formatter = argparse.HelpFormatter(prog)
    # argparse ignores the indent of commands, and puts the help of long ones on a new line.
    formatter._action_max_length = max(map(len, COMMANDS)) + 4
    return formatter


def _check_words(words: Sequence[str]) -> None:
    """Raise InputError for an empty word, which a path would take for the current folder."""
    for number, word in enumerate(words):
        option, assigned, value = word.partition("=")
        if word.strip() and not (word.startswith("--") and assigned and not value.strip()):
            continue
        where = option.strip() or (words[number - 1] if number else "ptp")
        raise InputError(
            f"what follows {where} is empty (a shell variable that is not set?): fill it in, or "
            "leave it out"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0 is success, 2 an error in the arguments or the input (one line names it), 130 Ctrl-C.
    """
    command = "ptp"
    try:
        _check_words(sys.argv[1:] if arguments is None else arguments)
        parser = make_parser()
        complete_words(parser)
        args = parser.parse_args(arguments)
        command = f"ptp {args.command}"
        env = getattr(args, "env", None) or ()
        let_in([env] if isinstance(env, str) else env)
        for name, value in vars(args).items():  # shells do not expand the ~ of --out=~/runs
            if isinstance(value, Path):
                setattr(args, name, value.expanduser())
        with ctrl_c_kept():
            status = args.run(args)
        sys.stdout.flush()
        return status
    except PtpError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe, for example `head`, has ended; Python must print no error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{command}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
