# SPDX-License-Identifier: Apache-2.0
"""`ptp collect`: collect demonstrations of primitives or chains with the scripted expert."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from ptp_cli.options import ENV, add_renamed


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "collect",
        help="collect demonstrations with the scripted expert",
        description="Collect demonstrations of single primitives, or of several in one scene, in "
        "parallel. Repeat the command to resume after an interruption. The data do not depend on "
        "--num-envs.",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="training YAML with a data section",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the data set"
    )
    parser.add_argument(
        "--num-envs",
        type=int,
        metavar="N",
        help="env workers (from the YAML)",
    )
    parser.add_argument("--seed", type=int, metavar="S", help="seed of the data (from the YAML)")
    parser.add_argument(
        "--trajectories", type=int, metavar="N", help="number of demonstrations (from the YAML)"
    )
    parser.add_argument(
        "--chain",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="number of primitives in one scene, one after the other (from the YAML; default: "
        "single ones)",
    )
    parser.add_argument(
        "--env",
        metavar="MODULE:FACTORY",
        help=f"gymnasium environment (default: the YAML's, else {ENV})",
    )
    add_renamed(parser, {"--workers": "--num-envs"})


def run(args: argparse.Namespace) -> int:
    """Collect; return the exit status."""
    from ptp_cli.options import check_factory, config_file
    from ptp_core.config import load_config
    from ptp_core.data.collect_demonstrations import collect

    given = {
        "data.num_envs": args.num_envs,
        "data.seed": args.seed,
        "data.trajectories": args.trajectories,
        "data.env": args.env,
        "data.chain": args.chain,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    config = load_config(config_file(args.config), overrides)
    data = config.data
    if not data.env:
        data = dataclasses.replace(data, env=ENV)
    check_factory(data.env, [args.env or ""], args.config)
    try:
        counts = collect(data, args.out)
    except KeyboardInterrupt:
        print("stopped; repeat the command to go on", file=sys.stderr)
        return 130
    print(f"{args.out}: {counts['total']} trajectories, {counts['new']} of them new")
    for name, figures in counts["primitives"].items():
        print(f"  {name}: {figures['shown']}, success {figures['success_rate']:.0%}")
    return 0
