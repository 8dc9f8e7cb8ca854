# SPDX-License-Identifier: Apache-2.0
"""`ptp camera`, `ptp goal`: align the camera, and capture goal images with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ptp_cli.options import require_above_zero

CAMERA_EPILOG = """\
examples:
  ptp camera align --save                 once, when the camera is in its place
  ptp camera align                        beside a running stack: print the shift each second;
                                          the topic view/align shows the overlay
  ptp camera align --once --out now.png   for scripts: exit status 1 beyond --tolerance
  ptp camera controls /dev/v4l/by-id/...  list the controls
"""


def add_camera(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "camera",
        help="align the camera with its reference image, or list its controls",
        description="Compare the live image with a reference image, or list the controls.",
        epilog=CAMERA_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "compare the live image with the reference, and print the shift"
    align = actions.add_parser("align", help=text, description=text[0].upper() + text[1:] + ".")
    add = align.add_argument
    add(
        "--reference",
        type=Path,
        default=Path("goals/camera.png"),
        metavar="PNG",
        help="(default: %(default)s)",
    )
    add("--save", action="store_true", help="save the live image as the reference")
    add("--replace", action="store_true", help="with --save: replace an existing reference")
    add("--device", default="", help="open this camera; default: ask the running stack")
    add("--once", action="store_true", help="compare once")
    add("--out", type=Path, metavar="PNG", help="write live, blend, difference and edges")
    add("--period", type=float, default=1.0, metavar="S", help="(default: %(default)g)")
    add(
        "--tolerance",
        type=float,
        default=2.0,
        metavar="PX",
        help="allowed shift of the image's farthest corner, pixels (default: %(default)g)",
    )
    text = "list the controls of a camera, with values and limits"
    controls = actions.add_parser("controls", help=text, description=text + ".")
    controls.add_argument(
        "device", metavar="DEVICE", help="/dev/v4l/by-id/..., number, fake:VIDEO"
    )


def run_camera(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    return {"align": _align, "controls": _controls}[args.action](args)


def _align(args: argparse.Namespace) -> int:
    from ptp_nodes.camera.camera_alignment import (
        CameraShift,
        align,
        live_images,
        look_once,
        read_reference,
        save_reference,
    )

    require_above_zero(args, "period", "tolerance")

    def tell(shift: CameraShift) -> None:
        state = "in place" if shift.within(args.tolerance) else shift.advice()
        print(f"{shift.line()}{f': {state}' if state else ''}", flush=True)

    with live_images(args.device) as live:
        if args.save:
            save_reference(live, args.reference, args.replace)
            print(args.reference)
            return 0
        if args.once:
            shift = look_once(live, read_reference(args.reference), args.out)
            tell(shift)
        else:
            shift = align(live, args.reference, tell, out=args.out, period=args.period)
    return 0 if shift.within(args.tolerance) else 1


def _controls(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.frame_source import make_device
    from ptp_nodes.camera.v4l2 import V4l2Controls, V4l2Device
    from ptp_nodes.camera.video_file import FakeDevice

    device = make_device(args.device)
    if isinstance(device, FakeDevice):
        found = device.controls
    elif isinstance(device, V4l2Device):
        found = V4l2Controls(device.name)
    else:
        raise InputError(f"{device.name} is a file, it has no controls")
    for name, control in found.read().items():
        limits = "" if control.minimum is None else f"  {control.minimum} to {control.maximum}"
        print(f"{name:<32} {control.value:>6}{limits}")
    return 0


GOAL_EPILOG = """\
A goal is two files in a folder: NAME.npz with the goal image of the policy, NAME.png for display.
  ptp up real goal_image:=goals/NAME.png     reach it (either file); or ptp up sim
"""


def add_goal(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "goal",
        help="capture, list and show goal images",
        description="Capture goal images from the running stack, list and show them.",
        epilog=GOAL_EPILOG,
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


def run_goal(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    return _GOAL_ACTIONS[args.action](args)


def _capture_goal(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.camera_client import camera_client, capture_goal
    from ptp_nodes.operator.goal_files import goal_path, save_goal

    path = goal_path(args.folder, args.name)
    if path.exists() and not args.replace:
        raise InputError(f"{path} exists: choose another name, or replace it with --replace")

    def ready() -> None:
        if not args.now and sys.stdin.isatty():
            input("Bring the table to the wished state, move the arm aside, then press Enter: ")

    with camera_client() as client:
        goal = capture_goal(client, args.note, ready, args.patience)
    save_goal(args.folder, args.name, goal, args.replace)
    large = "" if goal.camera_image is not None else " (without the camera's whole image)"
    print(f"{path} and {path.with_suffix('.png')}{large}")
    print(f"reach it with goal_image:={path}")
    return 0


def _list_goals(args: argparse.Namespace) -> int:
    from ptp_nodes.operator.goal_files import GoalFile, list_goals

    goals = list_goals(args.folder)
    for name, goal in goals.items():
        if isinstance(goal, GoalFile):
            print(f"{name:<20} {goal.facts.get('taken', ''):<25} {goal.note}".rstrip())
        else:
            print(f"{name:<20} {goal}")
    print(f"{len(goals)} goals in {args.folder}")
    return 0 if all(isinstance(goal, GoalFile) for goal in goals.values()) else 1


def _show_goal(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.camera_alignment import write_image
    from ptp_nodes.operator.goal_files import find_goal, goal_path

    goal = find_goal(args.folder, args.name)
    facts = {"preview": goal_path(args.folder, args.name).with_suffix(".png"), **goal.facts}
    if goal.camera_image is not None:
        facts["image"] = f"{goal.camera_image.shape[1]} x {goal.camera_image.shape[0]}"
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number:.4f}" for key, number in value.items())
        print(f"{name:<12} {value}")
    if args.out is not None:
        if goal.camera_image is None:
            raise InputError(f"{args.name} was taken without the camera's whole image")
        write_image(args.out, goal.camera_image)
    return 0


_GOAL_ACTIONS = {"capture": _capture_goal, "list": _list_goals, "show": _show_goal}
