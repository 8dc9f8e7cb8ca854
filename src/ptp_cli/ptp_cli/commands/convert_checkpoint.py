# SPDX-License-Identifier: Apache-2.0
"""`ptp convert-checkpoint`: convert checkpoints and baselines of earlier format versions."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "convert-checkpoint",
        help="convert a checkpoint of an earlier version",
        description="Write the checkpoint in OLD, of format version 1, as NEW. Weights and the "
        "encoder's identity stay, so recordings, fine-tuned policies and results remain valid. "
        "Where OLD holds baselines, NEW gets a checkpoint of each method, for example NEW/leap, "
        "which shares encoder and policy with --checkpoint. OLD is not changed. After an "
        "interruption repeat the command.",
    )
    add = parser.add_argument
    add("old", type=Path, metavar="OLD", help="folder with manifest.json or baselines.json")
    add("new", type=Path, metavar="NEW", help="folder to make")
    add(
        "--encoder",
        type=Path,
        metavar="DIR",
        help="folder of an encoder that several checkpoints share; it is made if it does not "
        "exist (default: NEW/encoder)",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="converted checkpoint that the baselines belong to",
    )


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    from ptp_core.training.convert import convert_checkpoint

    made = convert_checkpoint(args.old, args.new, encoder=args.encoder, base=args.checkpoint)
    for folder in made:
        print(f"{folder}: converted")
    return 0
