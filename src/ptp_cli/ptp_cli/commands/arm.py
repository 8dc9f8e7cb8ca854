# SPDX-License-Identifier: Apache-2.0
"""`ptp arm`: enable, stop or show a running arm driver."""

from __future__ import annotations

import argparse

STATE, WATCH = "state", "watch"
# Actions of ptp_nodes.robot.arm_client, which `ptp --help` must not import: it loads rclpy.
WORDS = ("enable", "disable", "stop", "reset", "clear-fault", "rearm")
EPILOG = """\
  enable       motors on; needs a preflight that passed (ptp doctor --real)
  disable      hold position, motors off
  stop         use the robot's strongest software stop, and latch it; this is no emergency stop
  reset        open the gripper, lift, move to the home pose
  clear-fault  clear the fault; the arm stays disabled
  rearm        let policies move the arm again after an operator did
  state        print the state of the driver once
  watch        print the state at each change, until Ctrl-C

Run it beside `ptp up real`, in a shell with the same ROS_DOMAIN_ID. `ros2 service call /arm/enable
std_srvs/srv/Trigger` is the same where ros2 is installed. Exit status: 0 done, 1 refused or not
done, 2 no driver answers.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "arm",
        help="enable, stop or show the arm of a running stack",
        description="Send a request to the arm driver of a running stack, and print its state.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=(*WORDS, STATE, WATCH), metavar="ACTION")
    parser.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="S",
        help="time for the answer and for the action, s (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Send the request or print the state; return the exit status."""
    import math

    from ptp_core.errors import InputError
    from ptp_nodes.robot.arm_client import arm_client, line, reached

    patience = args.patience
    if not (math.isfinite(patience) and patience > 0.0):
        raise InputError(f"--patience is {patience:g}; it must be above 0")
    with arm_client() as person:
        if args.action in (STATE, WATCH):
            state = person.meet(patience)
            if args.action == STATE:
                print(line(state))
                return 0
            for state in person.changes():
                print(line(state), flush=True)
        answer = person.ask(args.action, patience)
        print(answer.text if answer.granted else f"refused: {answer.text}", flush=True)
        state = person.settled(patience)
        if state is None:
            return 0 if answer.granted else 1
        print(line(state))
        return 0 if answer.granted and reached(args.action, state) else 1
