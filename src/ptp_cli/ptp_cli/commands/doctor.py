# SPDX-License-Identifier: Apache-2.0
"""`ptp doctor`: look at the running graph and say what is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
Run it beside `ptp up` or `ros2 launch`, in a shell with the same ROS_DOMAIN_ID. It moves nothing.
With --stack it expects every node that `ptp up NAME` starts with the same arguments, without it
those that the stack always has. Each finding is one line: what is wrong, why it matters, what to
do. Exit status: 0 healthy, 1 findings, 2 wrong arguments.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "doctor",
        help="look at the running nodes and say what is wrong",
        description="Listen to the running graph for a few seconds and name missing nodes and "
        "topics, qualities of service that do not match, streams that stand still, wrong "
        "versions, too many threads and what else keeps the stack from working.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("arguments", nargs="*", metavar="NAME:=VALUE", help="that the stack was started with")
    add("--stack", metavar="NAME", help="the stack that should run (default: what fits best)")
    add("--seconds", type=float, default=5.0, metavar="S", help="to listen (default: %(default)g)")
    add("--json", type=Path, metavar="FILE", help="write everything that was seen")


def run(args: argparse.Namespace) -> int:
    """Examine; return the exit status."""
    import json
    import math

    from ptp_bringup.shared import shared_root
    from ptp_bringup.stacks import STACKS, stack_named
    from ptp_bringup.up import parse
    from ptp_core.data.files import write_atomically
    from ptp_core.errors import InputError
    from ptp_nodes.doctor.examine import examine
    from ptp_nodes.doctor.facts import Expected

    if not (math.isfinite(args.seconds) and args.seconds > 0.0):
        raise InputError(f"--seconds is {args.seconds:g}; it must be above 0")
    if args.stack:
        stack = stack_named(args.stack)
        expected = [Expected(stack.name, stack.names(parse(args.arguments)))]
    elif args.arguments:
        raise InputError(f"{args.arguments[0]} is an argument of a stack: name it with --stack")
    else:
        expected = [Expected(stack.name, stack.names()) for stack in STACKS.values()]
    root = shared_root()
    report = examine(
        expected,
        args.seconds,
        pins=(root / "requirements.lock", root / "tools" / "workspace.py"),
    )
    if args.json is not None:
        text = json.dumps(report.as_dict(), indent=2) + "\n"
        try:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(args.json, lambda partial: partial.write_text(text))
        except OSError as error:
            raise InputError(f"--json {args.json}: cannot be written ({error})") from error
    graph = report.graph
    print(
        f"stack {report.expected.stack}, ROS domain {graph.domain} ({graph.discovery_range}): "
        f"{len(graph.nodes)} nodes and {len(graph.topics)} topics seen in {graph.seconds:.1f} s"
    )
    for finding in report.findings:
        print(f"- {finding.line()}")
    print(f"{len(report.findings)} findings" if report.findings else "healthy")
    return 1 if report.findings else 0
