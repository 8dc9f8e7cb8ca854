# SPDX-License-Identifier: Apache-2.0
"""`ptp arm`: enable, stop and look at a running arm driver."""

from __future__ import annotations

import argparse

STATE, WATCH = "state", "watch"
# What ptp_nodes.robot.arm_client can ask for; imported there, `ptp --help` would load rclpy.
WORDS = ("enable", "disable", "stop", "reset", "clear-fault", "rearm")
EPILOG = """\
  enable       motors on; needs a preflight that passed (ptp doctor --real)
  disable      stand still, motors off
  stop         stop as hard as the robot can, and latch it; this is no emergency stop
  reset        open the gripper, lift, go home
  clear-fault  forget the fault; the arm stays disabled
  rearm        let policies move the arm again after a person did
  state        say how the driver is, once
  watch        say it at each change, until Ctrl-C

Run it beside `ptp up real`, in a shell with the same ROS_DOMAIN_ID. `ros2 service call /arm/enable
std_srvs/srv/Trigger` is the same where ros2 is installed. Exit status: 0 done, 1 refused or not
done, 2 no driver answers.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "arm",
        help="enable, stop and look at the arm of a running stack",
        description="Ask the arm driver of a running stack, and say in which state it is then.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=(*WORDS, STATE, WATCH), metavar="ACTION")
    parser.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="S",
        help="for an answer, and for what was asked to be done (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Ask, or look; return the exit status."""
    import math

    from ptp_core.errors import InputError
    from ptp_nodes.robot.arm_client import arm_person, line, reached

    patience = args.patience
    if not (math.isfinite(patience) and patience > 0.0):
        raise InputError(f"--patience is {patience:g}; it must be above 0")
    with arm_person() as person:
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
