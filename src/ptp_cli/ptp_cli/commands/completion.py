# SPDX-License-Identifier: Apache-2.0
"""`ptp completion`: print what a shell needs to complete ``ptp``."""

from __future__ import annotations

import argparse

from ptp_cli.shell_completion import SHELLS, shell_code

COMPLETION_EPILOG = """\
Add the line for your shell to its start-up file; the command `ptp` must be found there:
  ~/.bashrc                   eval "$(ptp completion bash)"
  ~/.zshrc, after compinit    eval "$(ptp completion zsh)"
  ~/.config/fish/config.fish  ptp completion fish | source
"""


def add_completion(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "completion",
        help="let a shell complete ptp with the tab key",
        description="Print the code with which a shell completes ptp: commands, options, stacks, "
        "their arguments and files.",
        epilog=COMPLETION_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run_completion(args: argparse.Namespace) -> int:
    """Print the code; return the exit status."""
    print(shell_code(args.shell))
    return 0
