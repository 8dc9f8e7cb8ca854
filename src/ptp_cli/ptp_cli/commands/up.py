# SPDX-License-Identifier: Apache-2.0
"""`ptp up`: start a stack of ROS 2 nodes without launch_ros."""

from __future__ import annotations

import argparse

EPILOG = """\
examples:
  ptp up sim task:=B                      one episode of task B, in real time
  ptp up sim task:=A,B,C episodes:=10 mode:=lock_step output:=out/practice
  ptp up sim --show-args                  list the arguments
  ptp up teleop source:=keyboard          record demonstrations
  ptp up camera device:=/dev/video0       show a camera and the encoding of its images
  ptp up real robot:=sim_joint            the stack of a real arm, on the simulated table

Ctrl-C stops everything. `ros2 launch ptp_bringup sim.launch.py` takes the same arguments.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "up",
        help="start a stack of ROS 2 nodes",
        description="Start a stack of ROS 2 nodes: the same nodes with the same parameters as "
        "`ros2 launch ptp_bringup STACK.launch.py`, without needing launch_ros.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stack", metavar="STACK", help="sim, teleop, practice, camera or real")
    parser.add_argument("arguments", nargs="*", metavar="NAME:=VALUE", help="see --show-args")
    parser.add_argument("--show-args", action="store_true", help="list the stack's arguments")


def run(args: argparse.Namespace) -> int:
    """Start the stack; return its exit status."""
    from ptp_bringup.stacks import stack_named

    stack = stack_named(args.stack)
    if args.show_args:
        print(stack.show_arguments())
        return 0
    from ptp_bringup.bring_up import bring_up

    return bring_up(stack, args.arguments)
