# SPDX-License-Identifier: Apache-2.0
"""`ptp fake-controllers`: an arm under ros2_control that is not there, to try the real stack."""

from __future__ import annotations

import argparse

EPILOG = """\
In another shell, with the same ROS_DOMAIN_ID:
  ptp up real robot:=ros2_control    or: ros2 launch ptp_bringup real.launch.py robot:=ros2_control

Here, type a fault (freeze_joints, drop_link, ...) and see what the stack says; Ctrl-C ends it.
Where ros2 is installed, `ros2 run ptp_nodes fake_controllers` is the same node, and
`ros2 param set /fake_controllers fault freeze_joints` brings a fault about.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "fake-controllers",
        help="run an arm under ros2_control that is not there, with troubles on request",
        description="Take and say what the controllers of ros2_control do: joint states, position "
        "commands, gripper. Faults are typed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--controller",
        choices=("forward", "trajectory"),
        default="forward",
        help="what takes positions (default: %(default)s)",
    )
    add(
        "--motors",
        action="store_true",
        help="with motors that are off until services turn them on",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until `quit` or Ctrl-C; return the exit status."""
    import signal
    import sys

    from ptp_nodes.robot.fake_controllers_console import serve

    for number in (signal.SIGINT, signal.SIGTERM):  # in a background job of a shell, too
        signal.signal(number, signal.default_int_handler)
    values = {"controller": args.controller, "motors": args.motors}
    try:
        serve(sys.stdin, lambda text: print(text, flush=True), **values)
    except KeyboardInterrupt:
        return 0
    return 0
