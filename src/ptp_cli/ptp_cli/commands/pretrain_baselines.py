# SPDX-License-Identifier: Apache-2.0
"""`ptp pretrain-baselines`: train the networks of LEAP, GCP and GCBC."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ptp_cli.options import add_training_options, training_overrides

METHODS = ("leap", "gcp", "gcbc")


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "pretrain-baselines",
        help="train the networks of LEAP, GCP and GCBC for a checkpoint",
        description="Train LEAP's VAE of latents, GCP's midpoint generator and GCBC's policy with "
        "a checkpoint's encoder, on the data that the checkpoint was trained on. GCBC's policy is "
        "trained as the checkpoint's own, with all weights 1. --out gets a checkpoint of each "
        "method, which shares encoder and policy with --checkpoint. Give such a folder, for "
        "example --out/leap, to --checkpoint of ptp practice and ptp evaluate.",
    )
    add = parser.add_argument
    add(
        "--config",
        default="baselines",
        metavar="FILE",
        help="YAML (default: config/train/baselines.yaml)",
    )
    add("--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/")
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="data set of ptp collect or ptp import-bag, or codes.safetensors of the same "
        "encoder; codes are computed once and saved in --out",
    )
    add(
        "--only",
        nargs="+",
        choices=METHODS,
        default=METHODS,
        metavar="M",
        help=f"methods to train, of {', '.join(METHODS)}; checkpoints of the others in --out are "
        "not changed (default: all)",
    )
    add_training_options(parser, precision="float16")


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file, released_checkpoint
    from ptp_core.config import BaselinesConfig, load_config
    from ptp_core.training.baseline_training import pretrain_baselines

    config = load_config(config_file(args.config), training_overrides(args), BaselinesConfig)
    torch.set_num_threads(config.threads)
    checkpoint = args.checkpoint or released_checkpoint()
    try:
        made = pretrain_baselines(
            config,
            checkpoint,
            args.data,
            args.out,
            only=tuple(args.only),
            precision=args.precision,
        )
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    for folder in made.values():
        print(f"{folder}: finished; metrics in {args.out / 'metrics.json'}")
    return 0
