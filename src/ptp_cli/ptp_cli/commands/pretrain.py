# SPDX-License-Identifier: Apache-2.0
"""`ptp pretrain`: from demonstrations to a checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


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
        "--data", required=True, metavar="DATA", help="of ptp collect or ptp import-bag"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out; finished stages stay"
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="seed of the training (from the YAML)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="torch threads (from the YAML)")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), help="(from the YAML)")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="of the stored weights; float16 halves the files (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.shared import config_file
    from ptp_core.config import load_config
    from ptp_core.errors import InputError
    from ptp_core.training.pretrain import pretrain

    given = {"seed": args.seed, "threads": args.threads, "device": args.device}
    overrides = {key: value for key, value in given.items() if value is not None}
    config = load_config(config_file(args.config), overrides)
    out = Path(args.out)
    if not args.resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} holds a run: go on with --resume, or choose another --out")
    torch.set_num_threads(config.threads)
    try:
        checkpoint = pretrain(config, args.data, out, precision=args.precision)
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    print(f"{checkpoint}: finished; metrics in {out / 'metrics.json'}")
    return 0
