# SPDX-License-Identifier: Apache-2.0
"""`ptp monitor`: show live images, arm and curves in a web page."""

from __future__ import annotations

import argparse

EPILOG = """\
Run it beside `ptp up` or `ros2 launch`, in a shell with the same ROS_DOMAIN_ID; stacks may start
and stop. The page is for this machine alone; from another one: ssh -L 9090:localhost:9090
-L 9876:localhost:9876 ROBOT. Ctrl-C ends it.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "monitor",
        help="show images, subgoals, arm and curves in a web page",
        description="Show the running stack in a web page: camera, observation, the plan with "
        "the pursued subgoal, the arm in 3-D, and the scalar topics as curves. Needs Rerun, which "
        "`make monitor` installs.",
        epilog=EPILOG,
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


def run(args: argparse.Namespace) -> int:
    """Show the graph until Ctrl-C; return the exit status."""
    import signal
    import webbrowser

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

    for number in (signal.SIGINT, signal.SIGTERM):  # in a background job of a shell, too
        signal.signal(number, signal.default_int_handler)
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
