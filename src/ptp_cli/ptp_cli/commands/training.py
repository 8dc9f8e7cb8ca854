# SPDX-License-Identifier: Apache-2.0
"""Offline training: `ptp collect`, `pretrain` and its kin, `convert-checkpoint`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from ptp_cli.closing_lines import print_results
from ptp_cli.options import (
    ENV,
    add_checkpoint,
    add_renamed,
    add_training_options,
    training_overrides,
)


def add_collect(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "collect",
        help="collect demonstrations with the scripted expert",
        description="Collect demonstrations of single primitives, of several in one scene, or of "
        "whole tasks, in parallel. Repeat the command to resume after an interruption. The data "
        "do not depend on --num-envs.",
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
        "--tasks",
        nargs="+",
        metavar="T",
        help="show these tasks whole, in turn (from the YAML; default: primitives)",
    )
    parser.add_argument(
        "--env",
        metavar="MODULE:FACTORY",
        help=f"gymnasium environment (default: the YAML's, else {ENV})",
    )
    add_renamed(parser, {"--workers": "--num-envs"})


def run_collect(args: argparse.Namespace) -> int:
    """Collect; return the exit status."""
    from ptp_cli.options import check_factory, config_file
    from ptp_core.config import TrainConfig, load_config
    from ptp_core.data.collect_demonstrations import collect
    from ptp_core.data.coverage import coverage_lines
    from ptp_core.data.dataset import Dataset

    given = {
        "data.num_envs": args.num_envs,
        "data.seed": args.seed,
        "data.trajectories": args.trajectories,
        "data.env": args.env,
        "data.chain": args.chain,
        "data.tasks": args.tasks,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    config = load_config(config_file(args.config), TrainConfig, overrides)
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
    for name, figures in counts["tasks"].items():
        print(f"  task {name}: {figures['shown']} attempts, success {figures['success_rate']:.0%}")
    if counts["coverage"] is None:
        print("coverage unknown: the environment declares no scene_groups, or the data no scenes")
    else:
        print(f"coverage, by {counts['coverage']['least']} demonstrations or more near a scene:")
        for line in coverage_lines(counts["coverage"]["drawn"]):
            print(f"  {line}")
    if data.tasks:  # whole tasks have instructions
        words = ("pretrain-lbp", "--data", args.out)
    elif not next(iter(Dataset(args.out))).images:
        words = ("pretrain-states", "--data", args.out)
    else:
        words = ("pretrain", "--config", args.config, "--data", args.out)
    print_results(args.out, "ptp", *words, "--out", Path("runs", args.out.name))
    return 0


def add_pretrain(subparsers) -> None:
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


def run_pretrain(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file
    from ptp_core.config import TrainConfig, load_config
    from ptp_core.training.pretraining import pretrain

    config = load_config(config_file(args.config), TrainConfig, training_overrides(args))
    torch.set_num_threads(config.threads)
    try:
        checkpoint = pretrain(config, args.data, args.out, precision=args.precision)
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    print(f"{checkpoint}: finished; metrics in {args.out / 'metrics.json'}")
    _print_evaluation(args.out, checkpoint, args.data)
    return 0


def _print_evaluation(out: Path, checkpoint: Path, data: Path) -> None:
    """Tell where a training's results are, and how to evaluate them where the data come from."""
    from ptp_core.data.dataset import Dataset

    env = Dataset(data).description.get("env") or ENV
    where = () if env == ENV else ("--env", env)
    print_results(out, "ptp", "evaluate", "--checkpoint", checkpoint, *where)


BASELINE_METHODS = ("leap", "gcp", "gcbc")


def _add_data_or_codes(parser: argparse.ArgumentParser) -> None:
    """Add --data of a training with the encoder of a checkpoint."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="data set of ptp collect or ptp import-bag, or codes.safetensors of the same "
        "encoder; codes are computed once and saved in --out",
    )


def add_pretrain_baselines(subparsers) -> None:
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
    add_checkpoint(parser)
    _add_data_or_codes(parser)
    add(
        "--only",
        nargs="+",
        choices=BASELINE_METHODS,
        default=BASELINE_METHODS,
        metavar="M",
        help=f"methods to train, of {', '.join(BASELINE_METHODS)}; checkpoints of the others in "
        "--out are not changed (default: all)",
    )
    add_training_options(parser, precision="float16")


def run_pretrain_baselines(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file, released_checkpoint
    from ptp_core.config import BaselinesConfig, load_config
    from ptp_core.training.baseline_training import pretrain_baselines

    config = load_config(config_file(args.config), BaselinesConfig, training_overrides(args))
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
    print_results(args.out, "ptp", "evaluate", "--checkpoint", next(iter(made.values())))
    return 0


CLASSIFIER_STAGES = ("classifier", "tolerance", "single_legs")


def add_retrain_classifier(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "retrain-classifier",
        help="train the goal classifier of a checkpoint again, on other demonstrations",
        description="Train the classifier that says when a goal's work is done, and that of "
        "single legs, with a checkpoint's encoder and generators: the sections classifier, "
        "tolerance and single_legs of the YAML. --out gets a checkpoint with all networks of "
        "--checkpoint and the new ones.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="training YAML")
    add_checkpoint(parser)
    parser.add_argument(
        "--from",
        dest="start",
        default=CLASSIFIER_STAGES[0],
        choices=CLASSIFIER_STAGES,
        help="first section to train; what those before it train stays as --checkpoint has it "
        f"(default: {CLASSIFIER_STAGES[0]})",
    )
    _add_data_or_codes(parser)
    add_training_options(parser, precision="float32")


def run_retrain_classifier(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file, released_checkpoint
    from ptp_core.config import TrainConfig, load_config
    from ptp_core.training.classifier_retraining import retrain_classifier

    config = load_config(config_file(args.config), TrainConfig, training_overrides(args))
    torch.set_num_threads(config.threads)
    given = args.checkpoint or released_checkpoint()
    try:
        checkpoint = retrain_classifier(
            config, given, args.data, args.out, start=args.start, precision=args.precision
        )
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    print(f"{checkpoint}: finished; metrics in {args.out / 'metrics.json'}")
    print_results(args.out, "ptp", "evaluate", "--checkpoint", checkpoint)
    return 0


INSTRUCTED = ("lbp", "lcbc", "glcbc", "lbp_forward", "lbp_parallel", "susie_style")


def add_pretrain_lbp(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "pretrain-lbp",
        help="train LBP, which takes instructions, or a baseline of it",
        description="Train planner and policy of Latent Space Backward Planning (LBP), or of a "
        "baseline, from demonstrations with instructions. --out gets a checkpoint of each method, "
        "for example --out/lbp; they share encoder, text encoder and data.",
    )
    add = parser.add_argument
    add(
        "--config",
        default="lbp",
        metavar="FILE",
        help="YAML (default: config/train/lbp.yaml)",
    )
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="data set whose trajectories have instructions, of ptp collect or ptp import-bag",
    )
    add(
        "--encoder",
        type=Path,
        metavar="DIR",
        help="checkpoint whose encoder is taken (default: one is trained first)",
    )
    add(
        "--methods",
        nargs="+",
        choices=INSTRUCTED,
        default=("lbp",),
        metavar="M",
        help=f"methods to train, of {', '.join(INSTRUCTED)} (default: lbp)",
    )
    add_training_options(parser, precision="float16")


def run_pretrain_lbp(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file
    from ptp_core.config import InstructionTrainConfig, load_config
    from ptp_core.training.instructed_training import pretrain_instructed

    overrides = training_overrides(args)
    config = load_config(config_file(args.config), InstructionTrainConfig, overrides)
    torch.set_num_threads(config.threads)
    try:
        made = pretrain_instructed(
            config,
            args.data,
            args.out,
            methods=tuple(args.methods),
            encoder=args.encoder,
            precision=args.precision,
        )
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    for folder in made.values():
        print(f"{folder}: finished; metrics in {args.out / 'metrics.json'}")
    _print_evaluation(args.out, next(iter(made.values())), args.data)
    return 0


STATE_METHODS = ("gciql", "hiql")


def add_pretrain_states(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "pretrain-states",
        help="train methods whose goals are states: GCIQL and HIQL",
        description="Train goal-conditioned IQL (GCIQL) and hierarchical IQL (HIQL) on states: "
        "data whose proprioception is the whole state, such as OGBench's. No image is read. --out "
        "gets a checkpoint of each method, for example --out/hiql.",
    )
    add = parser.add_argument
    add(
        "--config",
        default="ogbench_states",
        metavar="FILE",
        help="YAML (default: config/train/ogbench_states.yaml)",
    )
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="data set of ptp collect, with proprioception",
    )
    add(
        "--methods",
        nargs="+",
        choices=STATE_METHODS,
        default=STATE_METHODS,
        metavar="M",
        help=f"methods to train, of {', '.join(STATE_METHODS)} (default: all)",
    )
    add_training_options(parser, precision="float32")


def run_pretrain_states(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    import torch

    from ptp_cli.options import config_file
    from ptp_core.config import StateTrainConfig, load_config
    from ptp_core.training.state_training import pretrain_states

    config = load_config(config_file(args.config), StateTrainConfig, training_overrides(args))
    torch.set_num_threads(config.threads)
    try:
        made = pretrain_states(
            config, args.data, args.out, methods=tuple(args.methods), precision=args.precision
        )
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    for folder in made.values():
        print(f"{folder}: finished; metrics in {args.out / 'metrics.json'}")
    _print_evaluation(args.out, next(iter(made.values())), args.data)
    return 0


def add_convert_checkpoint(subparsers) -> None:
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


def run_convert_checkpoint(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    from ptp_core.training.convert import convert_checkpoint

    made = convert_checkpoint(args.old, args.new, encoder=args.encoder, base=args.checkpoint)
    for folder in made:
        print(f"{folder}: converted")
    return 0
