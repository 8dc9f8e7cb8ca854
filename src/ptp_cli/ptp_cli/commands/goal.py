# SPDX-License-Identifier: Apache-2.0
"""`ptp goal`: capture goal images from the running stack, list and show them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EPILOG = """\
A goal is two files in a folder: NAME.npz with the goal image of the policy, NAME.png for display.
  ptp up real goal_image:=goals/NAME.png     reach it (either file); or ptp up sim
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "goal",
        help="capture, list and show goal images",
        description="Capture goal images from the running stack, list and show them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument(
            "--folder",
            type=Path,
            default=Path("goals"),
            help="of the goals (default: %(default)s)",
        )
        return added

    capture = action("capture", "save the present image of the table as a goal")
    capture.add_argument("name", metavar="NAME", help="letters, digits, _ and -")
    capture.add_argument("--note", default="", help="note, such as the start of the scene")
    capture.add_argument("--replace", action="store_true", help="replace the goal of that name")
    capture.add_argument("--now", action="store_true", help="do not wait for the Enter key")
    capture.add_argument(
        "--patience",
        type=float,
        default=5.0,
        metavar="S",
        help="time to wait for an image, s (default: %(default)g)",
    )
    action("list", "list the goals")
    show = action("show", "show the details of a goal")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--out", type=Path, metavar="PNG", help="write the camera's full image")


def run(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    return _ACTIONS[args.action](args)


def _capture(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.camera_client import camera_client, capture_goal
    from ptp_nodes.operator.goal_files import goal_path, save_goal

    path = goal_path(args.folder, args.name)
    if path.exists() and not args.replace:
        raise InputError(f"{path} exists: choose another name, or replace it with --replace")

    def ready() -> None:
        if not args.now and sys.stdin.isatty():
            input("Bring the table to the wished state, move the arm aside, then press Enter: ")

    with camera_client() as node:
        goal = capture_goal(node, args.note, ready, args.patience)
    save_goal(args.folder, args.name, goal, args.replace)
    large = "" if goal.camera_image is not None else " (without the camera's whole picture)"
    print(f"{path} and {path.with_suffix('.png')}{large}")
    print(f"reach it with goal_image:={path}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from ptp_nodes.operator.goal_files import GoalFile, list_goals

    goals = list_goals(args.folder)
    for name, goal in goals.items():
        if isinstance(goal, GoalFile):
            print(f"{name:<20} {goal.facts.get('taken', ''):<25} {goal.note}".rstrip())
        else:
            print(f"{name:<20} {goal}")
    print(f"{len(goals)} goals in {args.folder}")
    return 0 if all(isinstance(goal, GoalFile) for goal in goals.values()) else 1


def _show(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.camera_alignment import write_image
    from ptp_nodes.operator.goal_files import find_goal, goal_path

    goal = find_goal(args.folder, args.name)
    facts = {"preview": goal_path(args.folder, args.name).with_suffix(".png"), **goal.facts}
    if goal.camera_image is not None:
        facts["picture"] = f"{goal.camera_image.shape[1]} x {goal.camera_image.shape[0]}"
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number:.4f}" for key, number in value.items())
        print(f"{name:<12} {value}")
    if args.out is not None:
        if goal.camera_image is None:
            raise InputError(f"{args.name} was taken without the camera's whole picture")
        write_image(args.out, goal.camera_image)
    return 0


_ACTIONS = {"capture": _capture, "list": _list, "show": _show}
