# SPDX-License-Identifier: Apache-2.0
"""`ptp up`, `ptp arm`, `ptp monitor`: start a stack of nodes, command its arm and watch it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from ptp_cli.closing_lines import print_results
from ptp_cli.options import require_above_zero
from ptp_cli.shell_completion import stack_arguments, stack_names

UP_EPILOG = """\
examples:
  ptp up sim task:=B                      one episode of task B, in real time
  ptp up sim task:=A,B,C episodes:=10 mode:=lock_step output:=out/practice
  ptp up sim --show-args                  list the arguments
  ptp up real robot:=sawyer --dry-run     show what would start, with which parameters
  ptp up teleop source:=keyboard          record demonstrations
  ptp up camera device:=/dev/video0       show a camera and the encoding of its images
  ptp up real robot:=sim_joint            the stack of a real arm, on the simulated table

Ctrl-C stops everything. `ros2 launch ptp_bringup sim.launch.py` takes the same arguments.
"""


def add_up(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "up",
        help="start a stack of ROS 2 nodes",
        description="Start a stack of ROS 2 nodes: the same nodes with the same parameters as "
        "`ros2 launch ptp_bringup STACK.launch.py`, without needing launch_ros.",
        epilog=UP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stack = parser.add_argument(
        "stack", metavar="STACK", help="sim, teleop, practice, camera or real"
    )
    stack.completer = stack_names
    words = parser.add_argument(
        "arguments", nargs="*", metavar="NAME:=VALUE", help="see --show-args"
    )
    words.completer = stack_arguments
    parser.add_argument("--show-args", action="store_true", help="list the stack's arguments")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the nodes and their parameters, and start nothing",
    )


def run_up(args: argparse.Namespace) -> int:
    """Start the stack; return its exit status."""
    from ptp_bringup.stacks import parse, stack_named

    stack = stack_named(args.stack)
    if args.show_args:
        print(stack.show_arguments())
        return 0
    from ptp_bringup.bring_up import bring_up, dry_run

    if args.dry_run:
        dry_run(stack, args.arguments)
        return 0
    status = bring_up(stack, args.arguments)
    _print_records(stack.name, stack.values(parse(args.arguments)))
    return status


def _print_records(name: str, values: Mapping[str, str]) -> None:
    """Tell where a stack that has ended left recordings, if it records."""
    if name == "teleop":
        record = values["record"]
        print_results(record, "ptp", "import-bag", record, "-o", f"{record}.hdf5")
    elif name == "practice":
        output = values["output"]
        print_results(output, "ptp", "episodes", "list", Path(output, "recordings"))


STATE, WATCH = "state", "watch"
# Actions of ptp_nodes.robot.arm_client, which `ptp --help` must not import: it loads rclpy.
ARM_REQUESTS = ("enable", "disable", "stop", "reset", "clear-fault", "rearm")
ARM_EPILOG = """\
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


def add_arm(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "arm",
        help="enable, stop or show the arm of a running stack",
        description="Send a request to the arm driver of a running stack, and print its state.",
        epilog=ARM_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=(*ARM_REQUESTS, STATE, WATCH), metavar="ACTION")
    parser.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="S",
        help="time for the answer and for the action, s (default: %(default)g)",
    )


def run_arm(args: argparse.Namespace) -> int:
    """Send the request or print the state; return the exit status."""
    from ptp_nodes.robot.arm_client import arm_client, line, reached

    patience = args.patience
    require_above_zero(args, "patience")
    with arm_client() as arm:
        if args.action in (STATE, WATCH):
            state = arm.meet(patience)
            if args.action == STATE:
                print(line(state))
                return 0
            for state in arm.changes():
                print(line(state), flush=True)
        answer = arm.ask(args.action, patience)
        print(answer.text if answer.granted else f"refused: {answer.text}", flush=True)
        state = arm.settled(patience)
        if state is None:
            return 0 if answer.granted else 1
        print(line(state))
        return 0 if answer.granted and reached(args.action, state) else 1


MONITOR_EPILOG = """\
Run it beside `ptp up` or `ros2 launch`, in a shell with the same ROS_DOMAIN_ID; stacks may start
and stop. The page is for this machine alone; from another one: ssh -L 9090:localhost:9090
-L 9876:localhost:9876 ROBOT. Ctrl-C ends it.
"""


def add_monitor(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "monitor",
        help="show images, subgoals, arm and curves in a web page",
        description="Show the running stack in a web page: camera, observation, the plan with "
        "the pursued subgoal, the arm in 3-D, and the scalar topics as curves. Needs Rerun, which "
        "`make monitor` installs.",
        epilog=MONITOR_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=9090, metavar="P", help="of the page (default: %(default)s)")
    add("--data-port", type=int, default=9876, metavar="P", help="of its data (default: 9876)")
    add("--rate", type=float, default=5.0, metavar="HZ", help="of each image (default: 5)")
    add(
        "--memory",
        default="500MB",
        metavar="M",
        help="for history (default: 500MB)",
    )
    add("--browser", action="store_true", help="open the page in a browser")


def run_monitor(args: argparse.Namespace) -> int:
    """Show the graph until Ctrl-C; return the exit status."""
    import webbrowser

    from ptp_cli.process_setup import end_by_interrupt
    from ptp_core.errors import InputError
    from ptp_nodes.tools.monitor.rerun_server import require_rerun, serving

    for name in ("port", "data_port"):
        if not 1024 <= getattr(args, name) <= 65535:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is {getattr(args, name)}; ports are 1024 to 65535")
    if not 0.1 <= args.rate <= 60.0:
        raise InputError(f"--rate is {args.rate:g}; it must be between 0.1 and 60")
    require_rerun()
    from ptp_nodes.tools.monitor.rerun_page import recording_to, showing

    end_by_interrupt()
    with serving(args.port, args.data_port, args.memory) as server:
        try:
            with showing(recording_to(server.data), args.rate):
                print(f"{server.page}\nCtrl-C ends it", flush=True)
                if args.browser:
                    webbrowser.open(server.page)
                server.wait()
        except KeyboardInterrupt:
            return 0
    return 0
