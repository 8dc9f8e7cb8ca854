# SPDX-License-Identifier: Apache-2.0
"""`ptp pretrain`: train a checkpoint from demonstrations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ptp_cli.options import add_training_options, training_overrides


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "pretrain",
        help="train encoder, subgoal generators and policy from demonstrations",
        description="Train the VQ-VAE encoder, the three subgoal generators and the "
        "goal-conditioned policy (IQL). Curves for TensorBoard and the "
        "checkpoint are written below --out.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="training YAML")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="of ptp collect or ptp import-bag"
    )
    add_training_options(parser, precision="float32")


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file
    from ptp_core.config import load_config
    from ptp_core.training.pretraining import pretrain

    config = load_config(config_file(args.config), training_overrides(args))
    torch.set_num_threads(config.threads)
    try:
        checkpoint = pretrain(config, args.data, args.out, precision=args.precision)
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    print(f"{checkpoint}: finished; metrics in {args.out / 'metrics.json'}")
    return 0
