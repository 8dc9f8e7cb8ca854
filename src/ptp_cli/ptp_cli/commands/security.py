# SPDX-License-Identifier: Apache-2.0
"""`ptp security`: check SROS2 policies against the running graph, or write them from it."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  ptp up practice task:=A &  ptp security check      check that everything in use is allowed
  ptp security write --folder my_policies            also allow everything that is in use now

Both inspect the graph of this shell's ROS_DOMAIN_ID, without SROS2. Exit status of check: 0
everything is allowed, 1 something is not allowed or no node runs. docs/security.md describes how
to make keys from policies.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "security",
        help="compare the SROS2 policies with the running nodes",
        description="Compare the topics, services and actions of each running node with its SROS2 "
        "policy, or write policies from the running nodes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("action", choices=("check", "write"))
    add("--folder", type=Path, metavar="DIR", help="of policies (default: config/sros2/policies)")
    add("--seconds", type=float, default=5.0, metavar="S", help="to listen (default: %(default)g)")
    add("--nodes", nargs="+", metavar="NODE", help="only these nodes")


def run(args: argparse.Namespace) -> int:
    """Check or write; return the exit status."""
    import math

    from ptp_bringup.share_folder import shared_root
    from ptp_core.errors import InputError
    from ptp_nodes.tools.security.graph_uses import watch
    from ptp_nodes.tools.security.sros2_policies import (
        Rules,
        forbidden,
        policies_in,
        read_policy,
        write_policy,
    )

    if not (math.isfinite(args.seconds) and args.seconds >= 0.0):
        raise InputError(f"--seconds is {args.seconds:g}; it must not be below 0")
    folder = args.folder or shared_root() / "config" / "sros2" / "policies"
    policies = policies_in(folder) if args.action == "check" else {}
    found = watch(args.seconds, args.nodes)
    for name in sorted(set(args.nodes or ()) - set(found)):
        raise InputError(f"no node {name} runs on this ROS domain")
    if not found:
        print("no nodes run on this ROS domain")
        return 1
    if args.action == "check":
        lines = forbidden(policies, found)
        print(*lines, f"{len(found)} nodes, {len(lines)} findings", sep="\n")
        return 1 if lines else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, rules in sorted(found.items()):
        path = folder / f"{name}.xml"
        before = read_policy(path) if path.exists() else Rules()
        write_policy(path, before | rules)
        print(f"{path}{'' if before | rules == before else ': more is allowed'}")
    return 0
