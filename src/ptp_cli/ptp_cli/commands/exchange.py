# SPDX-License-Identifier: Apache-2.0
"""`ptp export`, `ptp import`: data sets for LeRobot and robomimic, and theirs for us."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli.commands.episodes import LABELS
from ptp_cli.options import add_report_options

if TYPE_CHECKING:
    from ptp_core.episodes.bag_mapping import ImageMapping

CODECS = ("h264", "av1")


def add_export(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "export",
        help="write recorded episodes and data sets for LeRobot or robomimic",
        description="Write recorded episodes and data sets of ours in the format of another "
        "program. Failed episodes are kept and marked.",
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    lerobot = formats.add_parser(
        "lerobot",
        help="a LeRobotDataset v3.0",
        description="Write a LeRobotDataset v3.0, a folder that lerobot loads with root=DIR.",
    )
    robomimic = formats.add_parser(
        "robomimic",
        help="one HDF5 file with masks",
        description="Write one HDF5 file that robomimic's scripts read, with the filter keys "
        "train and valid.",
    )
    for one in (lerobot, robomimic):
        one.add_argument(
            "sources",
            nargs="+",
            type=Path,
            metavar="SOURCE",
            help="session or episode of the recorder, or data set (ptp collect, ptp import-bag)",
        )
        one.add_argument(
            "--labels",
            nargs="+",
            choices=LABELS,
            default=list(LABELS),
            help="labels of the recorder's episodes to export (default: all)",
        )
    lerobot.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="new or empty folder"
    )
    lerobot.add_argument(
        "--fps",
        type=int,
        default=0,
        metavar="N",
        help="control steps a second (default: what the data say)",
    )
    lerobot.add_argument(
        "--images",
        choices=("auto", "png", "video"),
        default="auto",
        help="png is lossless; auto takes video above 96 pixels a side (default: auto)",
    )
    lerobot.add_argument(
        "--codec", choices=CODECS, default=CODECS[0], help="of videos (default: %(default)s)"
    )
    lerobot.add_argument(
        "--repo-id", metavar="USER/NAME", help="name on the hub, for the card (default: local/DIR)"
    )
    lerobot.add_argument(
        "--license", default="", metavar="ID", help="licence for the card, such as cc-by-4.0"
    )
    robomimic.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="new HDF5 file"
    )
    robomimic.add_argument(
        "--valid",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="share of the episodes that the filter key valid holds out (default: %(default)s)",
    )


def run_export(args: argparse.Namespace) -> int:
    """Export; return the exit status."""
    from ptp_core.exchange.export_sources import ExportSources
    from ptp_core.exchange.lerobot_layout import need_libraries
    from ptp_core.progress import Bar

    if args.format == "lerobot":
        need_libraries()
    sources = ExportSources(
        [path.expanduser() for path in args.sources],
        args.labels,
        lambda parts: Bar(parts, unit="episode", desc="export"),
    )
    said = _to_lerobot(args, sources) if args.format == "lerobot" else _to_robomimic(args, sources)
    for entry in sources.reports:
        if not entry["accepted"]:
            print(f"{entry['name']}: left out: {entry['reason']}")
        elif entry["refused"] or entry["too_short"]:
            reasons = [f"{count} refused ({reason})" for reason, count in entry["refused"].items()]
            reasons += [f"{entry['too_short']} alone"] * bool(entry["too_short"])
            kept = f"{entry['kept']} of {entry['steps']} steps in {entry['pieces']} episodes"
            print(f"{entry['name']}: {kept}: {', '.join(reasons)}")
    print(said)
    return 0


def _to_lerobot(args: argparse.Namespace, sources) -> str:
    from ptp_core.exchange.export_lerobot import export_lerobot
    from ptp_core.exchange.lerobot_writer import LerobotOptions

    out = args.output
    options = LerobotOptions(
        fps=1,  # export_lerobot puts the real one in its place
        images=args.images,
        codec=args.codec,
        repo_id=args.repo_id or f"local/{out.absolute().name}",
        license=args.license,
    )
    done = export_lerobot(sources, out, options, args.fps)
    labels = ", ".join(f"{count} {label}" for label, count in sorted(done.labels.items()))
    return (
        f"{out}: {done.episodes} episodes ({labels}), {done.frames} frames at {done.fps} a second"
    )


def _to_robomimic(args: argparse.Namespace, sources) -> str:
    from ptp_core.exchange.robomimic_file import export_robomimic

    episodes, steps, valid = export_robomimic(sources, args.output, args.valid)
    return f"{args.output}: {episodes} episodes, {steps} steps; mask valid has {valid}"


def add_import(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "import",
        help="turn data sets of LeRobot or robomimic into one of ours",
        description="Write the steps of another program's data set into one HDF5 file, which ptp "
        "pretrain reads. A mapping says which columns are image, motion and gripper; "
        "`ptp import-bag` takes the same file.",
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    lerobot = formats.add_parser(
        "lerobot",
        help="a LeRobotDataset v3.0",
        description="Read a LeRobotDataset v3.0. One that `ptp export lerobot` wrote needs no "
        "mapping and comes back as it was.",
    )
    lerobot.add_argument("source", type=Path, metavar="DIR", help="folder with meta/info.json")
    robomimic = formats.add_parser(
        "robomimic",
        help="an HDF5 file of robomimic",
        description="Read an HDF5 file of robomimic with image observations.",
    )
    robomimic.add_argument("source", type=Path, metavar="FILE", help="HDF5 file")
    robomimic.add_argument(
        "--mask", default="", metavar="NAME", help="filter key to read, such as train"
    )
    for one in (lerobot, robomimic):
        one.add_argument(
            "-o", "--output", type=Path, required=True, metavar="FILE", help="new HDF5 file"
        )
        one.add_argument(
            "--mapping", type=Path, metavar="FILE", help="YAML: which columns are what"
        )
        add_report_options(one)


def run_import(args: argparse.Namespace) -> int:
    """Import; return the exit status."""
    from ptp_core.episodes.bag_mapping import load_mapping
    from ptp_core.episodes.import_bags import report_lines
    from ptp_core.episodes.import_filter import Selection
    from ptp_core.errors import ConfigError, InputError
    from ptp_core.exchange.import_columns import import_episodes, import_own
    from ptp_core.exchange.lerobot_reader import LerobotFolder
    from ptp_core.exchange.robomimic_file import RobomimicFile
    from ptp_core.progress import Bar

    is_lerobot = args.format == "lerobot"
    source = LerobotFolder(args.source) if is_lerobot else RobomimicFile(args.source, args.mask)
    total = len(source)

    def progress(episodes):
        return Bar(episodes, total=total, unit="episode", desc="import")

    if is_lerobot and args.mapping is None and source.own() is not None:
        if args.report is not None:
            raise InputError(f"{args.source} is an export of ours: all of it is read, no --report")
        summary = import_own(source, args.output, progress)
    else:
        if args.mapping is None:
            raise InputError(
                f"{args.source}: give --mapping FILE that names its columns: {source.described()}"
            )
        mapping = load_mapping(args.mapping)
        try:
            summary = import_episodes(
                source.episodes(),
                args.output,
                source=args.source.name,
                mapping=mapping,
                picture=pixel_converter(mapping.image),
                selection=Selection(min_steps=args.min_steps),
                report=args.report,
                progress=progress,
            )
        except ConfigError as error:
            raise ConfigError(f"{args.mapping}: {error}") from None
    for line in report_lines(summary):
        print(line)
    print(
        f"{args.output}: {summary.trajectories} trajectories, {summary.steps} steps, of "
        f"{summary.episodes} of {total} episodes"
    )
    return 0


def pixel_converter(image: ImageMapping):
    """A function from RGB pixels uint8 (H, W, 3) to uint8 (size, size, 3)."""
    from ptp_ros.image_messages import crop_and_resize

    return lambda pixels: crop_and_resize(pixels, image.size, image.crop, tuple(image.offset))


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to below 1")
    return value
