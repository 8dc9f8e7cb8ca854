# SPDX-License-Identifier: Apache-2.0
"""`ptp fake-controllers`: simulate the controllers of an arm under ros2_control."""

from __future__ import annotations

import argparse

EPILOG = """\
In another shell, with the same ROS_DOMAIN_ID:
  ptp up real robot:=ros2_control    or: ros2 launch ptp_bringup real.launch.py robot:=ros2_control

Type a fault here (freeze_joints, drop_link, ...) and watch the stack; Ctrl-C ends the command.
Where ros2 is installed, `ros2 run ptp_nodes fake_controllers` is the same node, and
`ros2 param set /fake_controllers fault freeze_joints` sets a fault.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "fake-controllers",
        help="simulate an arm under ros2_control, with faults on request",
        description="Provide the topics of ros2_control's controllers: joint states, position "
        "commands, gripper. Typed words set faults.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--controller",
        choices=("forward", "trajectory"),
        default="forward",
        help="controller that takes positions (default: %(default)s)",
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

    for number in (signal.SIGINT, signal.SIGTERM):  # ignored in a background job of a shell
        signal.signal(number, signal.default_int_handler)
    values = {"controller": args.controller, "motors": args.motors}
    try:
        serve(sys.stdin, lambda text: print(text, flush=True), **values)
    except KeyboardInterrupt:
        return 0
    return 0
