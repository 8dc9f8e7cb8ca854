# SPDX-License-Identifier: Apache-2.0
"""Main function of ``ptp``: parse the command line and run a subcommand.

Subcommands import their dependencies when they run, so that `ptp --help` is fast.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ptp_cli import __version__, commands
from ptp_cli.options import let_in
from ptp_core.errors import PtpError

# Order of the list in `ptp --help`: first the commands for new users, then the others by name.
ORDER = (
    *("demo", "demo-teleop", "up", "doctor", "arm", "monitor", "camera", "goal", "episodes"),
    "import-bag",
    *("collect", "pretrain", "pretrain-baselines", "practice", "evaluate", "sweep", "report"),
    *("results", "convert-checkpoint"),
    *("fake-sawyer", "fake-controllers", "bench", "soak", "two-machines", "security"),
)


def command_names() -> list[str]:
    """Return the names of the subcommands: the modules of ptp_cli.commands, a dash for each _."""
    found = {module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)}
    return [name for name in ORDER if name in found] + sorted(found.difference(ORDER))


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
    for name in command_names():
        module = importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")
        module.add_parser(subparsers)
        subparsers.choices[name].set_defaults(run=module.run)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    formatter = argparse.HelpFormatter(prog)
    # argparse ignores the indent of commands, and puts the help of long ones on a new line.
    formatter._action_max_length = max(map(len, command_names())) + 4
    return formatter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0 is success, 2 an error in the arguments or the input (one line names it), 130 Ctrl-C.
    """
    command = "ptp"
    try:
        args = make_parser().parse_args(arguments)
        command = f"ptp {args.command}"
        env = getattr(args, "env", None) or ()
        let_in([env] if isinstance(env, str) else env)
        for name, value in vars(args).items():  # shells do not expand the ~ of --out=~/runs
            if isinstance(value, Path):
                setattr(args, name, value.expanduser())
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
