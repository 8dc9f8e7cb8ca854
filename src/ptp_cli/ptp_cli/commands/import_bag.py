# SPDX-License-Identifier: Apache-2.0
"""`ptp import-bag`: convert recorded episodes and other bags to a training data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptp_core.episodes.bag_mapping import ImageMapping

LABELS = ("success", "failure", "unlabelled")


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "import-bag",
        help="turn recorded episodes or plain bags into a data set",
        description="Write the valid steps of bags into one HDF5 file, which ptp pretrain and ptp "
        "practice read. Bags are sessions of the recorder, single episodes of it, or other ROS 2 "
        "bags (mcap, sqlite3) with a mapping of their topics.",
    )
    parser.add_argument("bags", nargs="+", metavar="BAG", help="session, folder of bags, or bag")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="HDF5 file to write"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        choices=LABELS,
        default=["success"],
        help="label of the recorder's episodes to import (default: success)",
    )
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="YAML: topics of bags of another program"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the validation report as JSON"
    )
    parser.add_argument(
        "--min-steps",
        type=int,
        default=10,
        metavar="N",
        help="shortest sequence of steps without a refused one (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Import; return the exit status."""
    from ptp_core.episodes.bag_mapping import load_mapping
    from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
    from ptp_core.episodes.import_filter import Selection
    from ptp_core.progress import Bar

    mapping = load_mapping(args.mapping) if args.mapping else None
    summary = import_bags(
        find_sources([Path(bag).expanduser() for bag in args.bags]),
        args.output,
        labels=args.labels,
        mapping=mapping,
        picture=None if mapping is None else picture_of(mapping.image),
        selection=Selection(min_steps=args.min_steps),
        report=args.report,
        progress=lambda sources: Bar(sources, unit="bag", desc="import"),
    )
    for line in report_lines(summary):
        print(line)
    print(
        f"{args.output}: {summary.trajectories} trajectories, {summary.steps} steps, of "
        f"{summary.episodes} of {len(summary.reports)} bags"
    )
    return 0


def picture_of(image: ImageMapping):
    """A function from an image message, plain or compressed, to uint8 (size, size, 3)."""
    import cv2
    import numpy as np

    from ptp_core.data.file_limits import OverBudget, check_picture_size
    from ptp_core.errors import InputError
    from ptp_ros.image_messages import crop_and_resize, image_to_array

    def picture(message) -> np.ndarray:
        if hasattr(message, "encoding"):
            pixels = image_to_array(message)
        else:
            data = np.asarray(message.data)
            try:
                check_picture_size(data.tobytes())
                pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
            except OverBudget as error:
                raise InputError(f"a compressed picture is refused ({error})") from error
            except (ValueError, cv2.error):
                pixels = None
            if pixels is None:
                raise InputError("a compressed picture cannot be read: it must be JPEG or PNG")
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        return crop_and_resize(pixels, image.size, image.crop, tuple(image.offset))

    return picture
