# SPDX-License-Identifier: Apache-2.0
"""`ptp fake-sawyer`, `ptp fake-controllers`: simulate an arm, to try the real stack with."""

from __future__ import annotations

import argparse

SAWYER_EPILOG = """\
In another shell:
  ptp up real robot:=sawyer    or: ros2 launch ptp_bringup real.launch.py robot:=sawyer
                               with --host or --port: robot:=my_sawyer.yaml, a copy of
                               config/robots/sawyer.yaml that has the same under backend:

Type a fault here (press_estop, drop_link, ...) and watch the stack; Ctrl-C ends the command.
"""


def add_fake_sawyer(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "fake-sawyer",
        help="simulate the interface of a Sawyer, with faults on request",
        description="Serve the topics of a Sawyer as a rosbridge server does: joints that follow "
        "commands within the robot's limits, emergency stop, gripper. Typed words set faults.",
        epilog=SAWYER_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", metavar="H", help="to listen on (default: %(default)s)")
    text = "default: %(default)s, rosbridge's; 0: any that is free"
    add("--port", type=int, default=9090, metavar="P", help=text)
    add(
        "--gripper",
        choices=("ready", "uncalibrated", "none"),
        default="ready",
        help="uncalibrated: as after power-up (default: %(default)s)",
    )


def run_fake_sawyer(args: argparse.Namespace) -> int:
    """Serve until `quit` or Ctrl-C; return the exit status."""
    import sys

    from ptp_cli.process_setup import end_by_interrupt
    from ptp_core.errors import InputError
    from ptp_robot.fakes.fake_sawyer_console import serve
    from ptp_robot.fakes.fake_sawyer_robot import FakeIntera

    if args.port and not 1024 <= args.port <= 65535:
        raise InputError(f"--port is {args.port}; ports are 1024 to 65535")
    end_by_interrupt()
    robot = FakeIntera(args.host, args.port, gripper=args.gripper)
    try:
        serve(robot, sys.stdin, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        return 0
    return 0


CONTROLLERS_EPILOG = """\
In another shell, with the same ROS_DOMAIN_ID:
  ptp up real robot:=ros2_control    or: ros2 launch ptp_bringup real.launch.py robot:=ros2_control

Type a fault here (freeze_joints, drop_link, ...) and watch the stack; Ctrl-C ends the command.
Where ros2 is installed, `ros2 run ptp_nodes fake_controllers` is the same node, and
`ros2 param set /fake_controllers fault freeze_joints` sets a fault.
"""


def add_fake_controllers(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "fake-controllers",
        help="simulate an arm under ros2_control, with faults on request",
        description="Provide the topics of ros2_control's controllers: joint states, position "
        "commands, gripper. Typed words set faults.",
        epilog=CONTROLLERS_EPILOG,
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


def run_fake_controllers(args: argparse.Namespace) -> int:
    """Serve until `quit` or Ctrl-C; return the exit status."""
    import sys

    from ptp_cli.process_setup import end_by_interrupt
    from ptp_nodes.nodes.fake_controllers_node import serve

    end_by_interrupt()
    values = {"controller": args.controller, "motors": args.motors}
    try:
        serve(sys.stdin, lambda text: print(text, flush=True), **values)
    except KeyboardInterrupt:
        return 0
    return 0
