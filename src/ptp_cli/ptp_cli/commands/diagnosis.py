# SPDX-License-Identifier: Apache-2.0
"""`ptp doctor`, `ptp security`, `ptp version`: check the running graph, and tell versions."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli import __version__
from ptp_cli.options import require_above_zero

if TYPE_CHECKING:
    from ptp_nodes.tools.doctor.doctor_facts import Expected

REAL = "real"  # name of the stack
REFERENCE = "goals/camera.png"  # that ptp camera align --save writes
DOCTOR_EPILOG = """\
Run it beside `ptp up` or `ros2 launch`, in a shell with the same ROS_DOMAIN_ID. It moves nothing.
With --stack it expects every node that `ptp up NAME` starts with the same arguments; without it,
the nodes that the stack always has. Each finding is one line: the problem, its effect and its
cure. Exit status: 0 healthy, 1 findings, 2 wrong arguments.

--real is the preflight of a real arm. It prints rates, latencies, clocks, disk, camera, files and
limits, and sends the result to the arm driver. The driver refuses to be enabled until a recent
preflight with the same limits has passed.
  ptp doctor --real robot:=sawyer learn:=true       the arguments of ptp up real

--parts listens to nothing: it says which libraries for export, viewers and sweeps are installed,
and the command that installs the others. An absent one is no finding.
  ptp doctor --parts --lerobot ~/lerobot/bin/python     LeRobot and our plug-ins as well
"""


def add_doctor(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the running nodes and print findings",
        description="Listen to the running graph for a few seconds and report missing nodes and "
        "topics, incompatible QoS, topics without messages, wrong versions, too many threads and "
        "other problems of the stack.",
        epilog=DOCTOR_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("arguments", nargs="*", metavar="NAME:=VALUE", help="arguments of the stack")
    add("--stack", metavar="NAME", help="the stack that should run (default: the best match)")
    add("--seconds", type=float, default=5.0, metavar="S", help="to listen (default: %(default)g)")
    add("--real", action="store_true", help="the preflight that must pass before enabling an arm")
    add("--robot", default="", metavar="YAML", help="robot file (default: arm_driver's)")
    add("--checkpoint", default="", metavar="DIR", help="(default: the policy node's)")
    add(
        "--reference",
        default=REFERENCE,
        metavar="PNG",
        help="reference image of the camera (default: %(default)s, if it exists)",
    )
    add("--disk", default="", metavar="DIR", help="folder of recordings (default: the recorder's)")
    add("--json", type=Path, metavar="FILE", help="write all facts as JSON")
    add("--parts", action="store_true", help="look at libraries beside the stack, and end")
    add("--lerobot", type=Path, metavar="PYTHON", help="with --parts: an environment of LeRobot")


def run_doctor(args: argparse.Namespace) -> int:
    """Examine; return the exit status."""
    import json

    from ptp_bringup.share_folder import shared_root
    from ptp_bringup.stacks import all_stacks, parse, stack_named
    from ptp_core.errors import InputError
    from ptp_nodes.tools.doctor.doctor_facts import Expected
    from ptp_nodes.tools.doctor.examination import examine

    if args.parts or args.lerobot is not None:
        return _parts(args)
    require_above_zero(args, "seconds")
    if args.real and args.stack not in (None, REAL):
        raise InputError(f"--real is for the stack {REAL}, not {args.stack}")
    name = args.stack or (REAL if args.real else None)
    if name:
        stack = stack_named(name)
        expected = [Expected(stack.name, stack.names(parse(args.arguments)))]
    elif args.arguments:
        raise InputError(f"{args.arguments[0]} is an argument of a stack: name it with --stack")
    else:
        expected = [Expected(stack.name, stack.names()) for stack in all_stacks().values()]
    root = shared_root()
    pins = tuple(sorted(root.glob("requirements*.lock")))
    if args.real:
        return _preflight(args, expected[0], pins)
    report = examine(expected, args.seconds, pins=pins)
    if args.json is not None:
        _write(args.json, json.dumps(report.as_dict(), indent=2))
    graph = report.graph
    print(
        f"stack {report.expected.stack}, ROS domain {graph.domain} ({graph.discovery_range}): "
        f"{len(graph.nodes)} nodes and {len(graph.topics)} topics seen in {graph.seconds:.1f} s"
    )
    for finding in report.findings:
        print(f"- {finding.line()}")
    print(f"{len(report.findings)} findings" if report.findings else "healthy")
    return 1 if report.findings else 0


def _parts(args: argparse.Namespace) -> int:
    """Look at the libraries beside the stack; return the exit status."""
    import dataclasses
    import json

    from ptp_cli.optional_parts import lerobot_states, part_states
    from ptp_core.errors import InputError

    if not args.parts:
        raise InputError("--lerobot belongs to --parts: add it")
    if args.real or args.stack or args.arguments:
        raise InputError("--parts looks at installed libraries alone: leave the stack out")
    states = part_states()
    for state in states:
        print(state.line())
    if args.lerobot is not None:
        there = lerobot_states(args.lerobot)
        print(f"with {args.lerobot}:", *(state.line() for state in there), sep="\n")
        states += there
    if args.json is not None:
        _write(args.json, json.dumps([dataclasses.asdict(state) for state in states], indent=2))
    faults = sum(state.fault for state in states)
    print(f"{faults} findings" if faults else "healthy")
    return 1 if faults else 0


def _preflight(args: argparse.Namespace, expected: Expected, pins: tuple[Path, ...]) -> int:
    from ptp_core.config.loading import to_dict
    from ptp_core.errors import InputError
    from ptp_nodes.tools.doctor.preflight import measures, preflight, tell

    if args.reference != REFERENCE and not Path(args.reference).is_file():
        raise InputError(f"--reference {args.reference}: there is no such image")
    reference = args.reference if Path(args.reference).is_file() else ""
    done = preflight(
        expected,
        args.seconds,
        robot=args.robot,
        checkpoint=args.checkpoint,
        reference=reference,
        disk=args.disk,
        pins=pins,
    )
    facts = done.facts
    if args.json is not None:
        _write(args.json, done.text)
    if facts.robot is not None:
        robot = facts.robot
        print(f"limits {robot.digest} of {robot.backend} ({robot.path}), SI units:")
        for name, value in to_dict(robot.limits).items():
            print(f"     {name}: {value}")
    if (driver := facts.graph.driver) is not None:
        reason = f": {driver.reason}" if driver.reason else ""
        print(
            f"driver: {driver.state}{reason}; {driver.interface} commands, added to "
            f"{driver.reference}"
        )
    if facts.weights is not None:
        print(f"checkpoint: {facts.weights.folder}, encoder {facts.weights.encoder_id[:12]}")
    if not reference:
        print(f"camera: no reference image {args.reference}, its place is not checked")
    for measure in measures(facts):
        print(measure.line())
    for line in done.hints:
        print(f"hint {line}")
    for line in done.wrong:
        print(f"- {line}")
    heard = tell(done.text)
    if not heard:
        print("- nobody reads arm/preflight: arm_driver does not run, or has preflight:=false")
    if done.wrong:
        print(f"{len(done.wrong)} findings: the arm must not be enabled")
        return 1
    print(
        "passed. Before you enable: a person beside the emergency stop, nobody within reach, the "
        "table clear"
    )
    return 0 if heard else 1


def _write(path: Path, text: str) -> None:
    from ptp_core.data.files import write_atomically
    from ptp_core.errors import InputError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda partial: partial.write_text(text + "\n"))
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error})") from error


SECURITY_EPILOG = """\
examples:
  ptp up practice task:=A &  ptp security check      check that everything in use is allowed
  ptp security write --folder my_policies            also allow everything that is in use now

Both inspect the graph of this shell's ROS_DOMAIN_ID, without SROS2. Exit status of check: 0
everything is allowed, 1 something is not allowed or no node runs. docs/security.md describes how
to make keys from policies.
"""


def add_security(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "security",
        help="compare the SROS2 policies with the running nodes",
        description="Compare the topics, services and actions of each running node with its SROS2 "
        "policy, or write policies from the running nodes.",
        epilog=SECURITY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("action", choices=("check", "write"))
    add("--folder", type=Path, metavar="DIR", help="of policies (default: config/sros2/policies)")
    add("--seconds", type=float, default=5.0, metavar="S", help="to listen (default: %(default)g)")
    add("--nodes", nargs="+", metavar="NODE", help="only these nodes")


def run_security(args: argparse.Namespace) -> int:
    """Check or write; return the exit status."""
    import math

    from ptp_bringup.share_folder import shared_root
    from ptp_core.errors import InputError
    from ptp_nodes.tools.security.sros2_policies import (
        Rules,
        forbidden,
        policies_in,
        read_policy,
        watch,
        write_policy,
    )

    if not (math.isfinite(args.seconds) and args.seconds >= 0.0):
        raise InputError(f"--seconds is {args.seconds:g}; it must not be below 0")
    folder = args.folder or shared_root() / "config" / "sros2" / "policies"
    policies = policies_in(folder) if args.action == "check" else {}
    found = watch(args.seconds, args.nodes)
    for name in sorted(set(args.nodes or ()) - set(found)):
        raise InputError(f"no node {name} runs on this ROS domain")
    if not found:
        print("no nodes run on this ROS domain")
        return 1
    if args.action == "check":
        lines = forbidden(policies, found)
        print(*lines, f"{len(found)} nodes, {len(lines)} findings", sep="\n")
        return 1 if lines else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, rules in sorted(found.items()):
        path = folder / f"{name}.xml"
        before = read_policy(path) if path.exists() else Rules()
        write_policy(path, before | rules)
        print(f"{path}{'' if before | rules == before else ': more is allowed'}")
    return 0


# Distributions whose version changes what a run does.
PARTS = ("torch", "numpy", "pybullet", "opencv-python-headless", "gymnasium")


def add_version(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    subparsers.add_parser(
        "version",
        help="show the versions of ptp, ROS 2 and their dependencies",
        description="Show the versions of ptp, ROS 2 and their dependencies.",
    )


def run_version(args: argparse.Namespace) -> int:
    """Print one line for each version; return the exit status."""
    from ptp_cli.machine import installed, ros_version

    print(f"ptp {__version__}")
    print(f"python {platform.python_version()} on {platform.platform()}")
    print(f"rclpy {ros_version()}")
    for name in PARTS:
        print(f"{name} {installed(name)}")
    return 0
