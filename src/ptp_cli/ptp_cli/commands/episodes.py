# SPDX-License-Identifier: Apache-2.0
"""`ptp episodes`, `ptp import-bag`: manage recorded episodes, and make data sets of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli.closing_lines import print_results
from ptp_cli.options import add_report_options

if TYPE_CHECKING:
    from ptp_core.episodes.bag_mapping import ImageMapping

LABELS = ("success", "failure", "unlabelled")


def add_episodes(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "episodes",
        help="list, label, drop, repair or sum up recorded episodes",
        description="Manage a session folder of the recorder. All actions but repair work while "
        "the recorder runs.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument("folder", metavar="FOLDER", help="session folder")
        return added

    listing = action("list", "list the episodes with label, steps and end")
    listing.add_argument("--json", action="store_true", help="as JSON, one object per episode")
    label = action("label", "change the label of episodes, or say in words what they show")
    label.add_argument(
        "words",
        nargs="+",
        metavar=("LABEL", "NUMBER"),
        help=f"{', '.join(LABELS)}, then the episodes; with --instruction the label may be left "
        "out",
    )
    label.add_argument(
        "--instruction",
        metavar="TEXT",
        help="what the episodes show, in words, in place of what was recorded",
    )
    drop = action("drop", "exclude episodes; nothing is deleted")
    drop.add_argument("numbers", type=int, nargs="+", metavar="NUMBER")
    drop.add_argument("--undo", action="store_true", help="include them again")
    action("repair", "recover the recordings of a recorder that was killed")
    stats = action("stats", "summarise the session: labels, steps, rates, gaps, losses")
    stats.add_argument("--json", action="store_true", help="as JSON")
    stats.add_argument("--check", action="store_true", help="compare each bag with its sha256")


def run_episodes(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    from ptp_core.episodes.session_store import SESSION_FILE, Session

    folder = Path(args.folder).expanduser()
    if not (folder / SESSION_FILE).is_file():
        _check_plain(folder)
    return _EPISODE_ACTIONS[args.action](Session(folder), args)


def _check_plain(folder: Path) -> None:
    """Raise EpisodeError where the folder holds bags of another program."""
    from ptp_core.episodes.bag_reader import storage_files
    from ptp_core.episodes.import_bags import find_sources
    from ptp_core.errors import EpisodeError

    if folder.is_dir() and any(storage_files(source.path) for source in find_sources([folder])):
        raise EpisodeError(
            f"{folder}: no session of recorded episodes, but bags; plain ones are mended by "
            "`ros2 bag reindex` or `mcap recover`: `ptp import-bag` says which, bag by bag"
        )


def _list(session, args: argparse.Namespace) -> int:
    from dataclasses import asdict

    entries = session.entries()
    if args.json:
        for entry in entries:
            print(json.dumps(asdict(entry)))
        return 0
    if entries:
        print(f"{'number':>6}  {'label':<10}  {'steps':>5}  {'end':<9}  {'task':<6}  episode")
    for entry in entries:
        notes = [
            name
            for name, there in (
                ("dropped", entry.dropped),
                ("salvaged", entry.salvaged),
                (f"{entry.interventions} steps by a person", entry.interventions),
                (f"{entry.breaks} broken", entry.breaks),
                (f'"{entry.instruction}"', entry.instruction),
            )
            if there
        ]
        line = (
            f"{entry.number:>6}  {entry.label:<10}  {entry.steps:>5}  {entry.end_reason:<9}  "
            f"{entry.task:<6}  {entry.episode_id}"
        )
        print(f"{line}  ({', '.join(notes)})" if notes else line)
    unfinished = session.unfinished()
    print(f"{len(entries)} episodes, {len(unfinished)} unfinished recordings in {session.folder}")
    return 0


def _label(session, args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError, quoted

    words = list(args.words)
    label = None if args.instruction is not None and words[0].isdigit() else words.pop(0)
    if label is not None and label not in LABELS:
        raise InputError(f"label {quoted(label)}: it must be one of {', '.join(LABELS)}")
    if not words or not all(word.isdigit() for word in words):
        raise InputError("name the episodes by their numbers, as `ptp episodes list` has them")
    numbers = [int(word) for word in words]
    for number in numbers:
        session.entry(number)  # of several, none is changed where one is wrong
    for number in numbers:
        said = []
        if args.instruction is not None:
            said.append(quoted(session.instruct(number, args.instruction).instruction))
        if label is not None:
            said.append(session.label(number, label).label)
        print(f"episode {number}: {', '.join(said)}")
    return 0


def _drop(session, args: argparse.Namespace) -> int:
    for number in args.numbers:
        session.drop(number, not args.undo)
        print(f"episode {number}: {'taken in again' if args.undo else 'dropped'}")
    return 0


def _repair(session, args: argparse.Namespace) -> int:
    from ptp_core.episodes.message_definitions import Definitions
    from ptp_core.episodes.recording import repair
    from ptp_core.progress import Bar

    found = session.unfinished()
    if not found:
        print("nothing to repair")
        return 0
    lines, left = [], 0
    with Bar(total=len(found), unit="recording", desc="repair") as bar:
        for done in repair(session, Definitions()):
            left += done.left
            if done.entry is None:
                lines.append(f"{done.name}: nothing could be got back ({done.problem})")
            else:
                lines.append(
                    f"{done.name}: episode {done.entry.number}, {done.entry.steps} steps from "
                    f"{done.messages} messages; label it with `ptp episodes label`"
                )
            bar.update(1)
    print("\n".join(lines))
    return 1 if left else 0


def _stats(session, args: argparse.Namespace) -> int:
    from ptp_core.episodes.session_store import damaged, session_figures
    from ptp_core.progress import Bar

    figures = session_figures(session)
    if args.check:
        figures["damaged"] = damaged(
            session, lambda entries: Bar(entries, unit="episode", desc="check")
        )
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            if value not in (None, {}, []):
                print(f"{name.replace('_', ' '):<20} {_text(value)}")
    return 1 if figures.get("damaged") else 0


def _text(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_EPISODE_ACTIONS = {
    "list": _list,
    "label": _label,
    "drop": _drop,
    "repair": _repair,
    "stats": _stats,
}


def add_import_bag(subparsers) -> None:
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
    add_report_options(parser)


def run_import_bag(args: argparse.Namespace) -> int:
    """Import; return the exit status."""
    from ptp_core.episodes.bag_mapping import load_mapping
    from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
    from ptp_core.episodes.import_filter import Selection
    from ptp_core.progress import Bar

    mapping = load_mapping(args.mapping) if args.mapping else None
    if mapping is not None:
        mapping.check_for_bags()
    summary = import_bags(
        find_sources([Path(bag).expanduser() for bag in args.bags]),
        args.output,
        labels=args.labels,
        mapping=mapping,
        picture=None if mapping is None else image_converter(mapping.image),
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
    print_results(args.output, "ptp", "up", "practice", f"demonstrations:={args.output}")
    return 0


def image_converter(image: ImageMapping):
    """A function from an image message, plain or compressed, to uint8 (size, size, 3)."""
    import cv2
    import numpy as np

    from ptp_core.data.file_limits import OverBudget, check_picture_size
    from ptp_core.errors import InputError
    from ptp_ros.image_messages import crop_and_resize, image_to_array

    def converted(message) -> np.ndarray:
        if hasattr(message, "encoding"):
            pixels = image_to_array(message)
        else:
            data = np.asarray(message.data)
            try:
                check_picture_size(data.tobytes())
                pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
            except OverBudget as error:
                raise InputError(f"a compressed image is refused ({error})") from error
            except (ValueError, cv2.error):
                pixels = None
            if pixels is None:
                raise InputError("a compressed image cannot be read: it must be JPEG or PNG")
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        return crop_and_resize(pixels, image.size, image.crop, tuple(image.offset))

    return converted
