# SPDX-License-Identifier: Apache-2.0
"""`ptp soak`: run the practice stack under random faults and count losses."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Practise in lock-step while one fault is injected every few seconds: nodes are killed and stalled,
invalid and stale commands are sent, an operator takes over, damaged weights arrive. Then count
lost finished episodes, setpoints outside the workspace and motions without a valid command, and
measure the growth of memory. Exit status 0: no losses or violations.
"""


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "soak",
        help="run the practice stack under random faults",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, metavar="M", help="default: 30")
    add("--every", type=float, default=20.0, metavar="S", help="s between faults (default: 20)")
    add("--seed", type=int, default=0, metavar="N", help="of the faults (default: 0)")
    add("--max-steps", type=int, default=100, metavar="N", help="of an episode (default: 100)")
    add("--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/")
    add("--out", type=Path, default=Path("out/soak"), metavar="DIR", help="default: out/soak")
    add("--json", type=Path, metavar="FILE", help="default: soak.json in --out")


def run(args: argparse.Namespace) -> int:
    """Run the soak test; return the exit status."""
    import json
    import sys

    from ptp_cli.options import released_checkpoint
    from ptp_cli.process_setup import own_domain
    from ptp_core.data.files import claim, write_atomically
    from ptp_core.errors import InputError
    from ptp_core.progress import Bar
    from ptp_nodes.tools.soak.soak_run import SoakSettings, soak

    for name in ("minutes", "every", "max_steps"):
        if getattr(args, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} must be more than 0")
    out = args.out.resolve()
    claim(out, "ptp soak", ["practice", "nodes.log"])
    settings = SoakSettings(
        seconds=60 * args.minutes,
        every=args.every,
        seed=args.seed,
        checkpoint=str(args.checkpoint or released_checkpoint()),
        out=out,
        max_steps=args.max_steps,
    )
    with (
        own_domain() as domain,
        Bar(total=round(settings.seconds), unit="s", desc="soak", file=sys.stderr) as bar,
    ):

        def progress(seconds: float, what: str) -> None:
            bar.update(min(round(seconds), bar.total) - bar.n)
            bar.set_postfix_str(what)

        report = soak(settings, domain, progress)
    figures = report.as_dict()
    path = args.json or out / "soak.json"
    write_atomically(path, lambda partial: partial.write_text(json.dumps(figures, indent=2)))
    _print(figures, out)
    return 0 if report.passed else 1


def _print(figures: dict, out: Path) -> None:
    growth = figures["memory_growth"]
    print(f"{sum(figures['faults'].values())} faults in {figures['seconds'] / 60:.1f} minutes:")
    for name, count in figures["faults"].items():
        print(f"  {name:<22} {count}")
    print(f"finished episodes         {figures['episodes_confirmed']}")
    print(f"  of them lost            {figures['episodes_lost']}")
    print(f"states of the arm         {figures['arm_states']}")
    print(f"  told outside workspace  {figures['outside_workspace']}")
    print(f"  tool outside at most    {figures['strayed'] * 1e3:.1f} mm")
    print(f"  answered at most        {figures['oldest_answered']:.2f} s after it was seen")
    print(f"nodes started again       {figures['restarts']}")
    print(
        f"growth of memory          {'too short to tell' if growth is None else f'{growth:+.1%}'}"
    )
    for complaint in figures["complaints"]:
        print(f"  {complaint}")
    if figures["ended_early"]:
        print("the stack ended by itself")
    print(
        f"{'passed' if figures['passed'] else 'FAILED'}; what the nodes said: {out / 'nodes.log'}"
    )
