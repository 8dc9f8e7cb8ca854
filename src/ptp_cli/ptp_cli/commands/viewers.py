# SPDX-License-Identifier: Apache-2.0
"""`ptp foxglove`: show a running graph in Foxglove or Lichtblick."""

from __future__ import annotations

import argparse

EPILOG = """\
Run it beside `ptp up` or `ros2 launch`, in a shell with the same ROS_DOMAIN_ID; stacks may start
and stop. Open the address that it prints in Foxglove or Lichtblick (Open connection, Foxglove
WebSocket), and import the layout config/foxglove/ptp.json. Viewers look and cannot act. From
another machine: ssh -L 8765:localhost:8765 ROBOT. Where ROS 2 has foxglove_bridge, that shows the
graph as well. Ctrl-C ends it.
"""


def add_foxglove(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "foxglove",
        help="show the graph in Foxglove or Lichtblick",
        description="Serve the topics of the running graph over Foxglove's WebSocket protocol. "
        "Needs Foxglove's SDK, which `make foxglove` installs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=8765, metavar="P", help="default: %(default)s")
    add(
        "--host",
        default="127.0.0.1",
        metavar="A",
        help="address of this machine; another one than the default lets every machine that "
        "reaches it look at your cameras (default: %(default)s)",
    )
    add(
        "--robot",
        default="sawyer",
        metavar="R",
        help="whose URDF is shown while no node publishes robot_description: of config/robots, "
        "or a YAML file like those (default: %(default)s)",
    )


def run_foxglove(args: argparse.Namespace) -> int:
    """Serve the graph until Ctrl-C; return the exit status."""
    import threading

    from ptp_bringup.arguments import robot_urdf
    from ptp_cli.process_setup import end_by_interrupt
    from ptp_core.errors import InputError
    from ptp_nodes.tools.foxglove.foxglove_server import require_foxglove, serving_graph

    if not 1024 <= args.port <= 65535:
        raise InputError(f"--port is {args.port}; ports are 1024 to 65535")
    require_foxglove()
    description = robot_urdf(args.robot)
    end_by_interrupt()
    try:
        with serving_graph(args.port, args.host, description) as port:
            print(f"ws://{args.host}:{port}\nCtrl-C ends it", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    return 0
