# SPDX-License-Identifier: Apache-2.0
"""`ptp camera`: align the camera with its reference image, and list its controls."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

EPILOG = """\
examples:
  ptp camera align --save                 once, when the camera is in its place
  ptp camera align                        beside a running stack: print the shift each second;
                                          the topic view/align shows the overlay
  ptp camera align --once --out now.png   for scripts: exit status 1 beyond --tolerance
  ptp camera controls /dev/v4l/by-id/...  list the controls
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "camera",
        help="align the camera with its reference image, or list its controls",
        description="Compare the live image with a reference image, or list the controls.",
        epilog=EPILOG,
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


def run(args: argparse.Namespace) -> int:
    """Do the action; return the exit status."""
    return {"align": _align, "controls": _controls}[args.action](args)


def _align(args: argparse.Namespace) -> int:
    from ptp_core.errors import InputError
    from ptp_nodes.camera.camera_alignment import (
        Shift,
        align,
        live_images,
        look_once,
        read_reference,
        save_reference,
    )

    for name in ("period", "tolerance"):
        if not (math.isfinite(value := getattr(args, name)) and value > 0.0):
            raise InputError(f"--{name} is {value:g}; it must be above 0")

    def tell(shift: Shift) -> None:
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
