# SPDX-License-Identifier: Apache-2.0
"""`ptp soak`, `ptp two-machines`: practise under faults, and with a link that is cut."""

from __future__ import annotations

import argparse
from pathlib import Path

from ptp_cli.options import add_checkpoint, released_checkpoint, require_above_zero

SOAK_DESCRIPTION = """\
Practise in lock-step while one fault is injected every few seconds: nodes are killed and stalled,
invalid and stale commands are sent, an operator takes over, damaged weights arrive. Then count
lost finished episodes, setpoints outside the workspace and motions without a valid command, and
measure the growth of memory. Exit status 0: no losses or violations.
"""


def add_soak(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "soak",
        help="run the practice stack under random faults",
        description=SOAK_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, metavar="M", help="default: 30")
    add("--every", type=float, default=20.0, metavar="S", help="s between faults (default: 20)")
    add("--seed", type=int, default=0, metavar="N", help="of the faults (default: 0)")
    add("--max-steps", type=int, default=100, metavar="N", help="of an episode (default: 100)")
    add_checkpoint(parser)
    add("--out", type=Path, default=Path("out/soak"), metavar="DIR", help="default: out/soak")
    add("--json", type=Path, metavar="FILE", help="default: soak.json in --out")


def run_soak(args: argparse.Namespace) -> int:
    """Run the soak test; return the exit status."""
    import json
    import sys

    from ptp_cli.process_setup import own_domain
    from ptp_core.data.files import claim, write_atomically
    from ptp_core.progress import Bar
    from ptp_nodes.tools.soak.soak_run import SoakSettings, soak

    require_above_zero(args, "minutes", "every", "max_steps")
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
    _print_soak(figures, out)
    return 0 if report.passed else 1


def _print_soak(figures: dict, out: Path) -> None:
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


TWO_MACHINES_DESCRIPTION = """\
Make two hosts on this machine (network namespaces) with a cable between them. Practise in
simulation on one host; the learner runs on the other and is discovered through a list of peers.
Then cut the cable while practice continues, reconnect it, and check that the learner catches up
and that no recorded episode is lost. Exit status 0: passed; 1: failed; 2: this machine cannot run
the trial. docs/two_machines.md describes the same with two real machines.
"""


def add_two_machines(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "two-machines",
        help="test practice with the learner on another host while the link is cut",
        description=TWO_MACHINES_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cut", type=float, default=30.0, metavar="S", help="s without link (default: 30)")
    add(
        "--patience",
        type=float,
        default=300.0,
        metavar="S",
        help="time for a single step of the trial, s (default: 300)",
    )
    add("--max-steps", type=int, default=100, metavar="N", help="of an episode (default: 100)")
    add_checkpoint(parser)
    add("--params-file", type=Path, metavar="YAML", help="parameters of single nodes")
    add("--out", type=Path, default=Path("out/two_machines"), metavar="DIR")
    add("--json", type=Path, metavar="FILE", help="default: two_machines.json in --out")


def run_two_machines(args: argparse.Namespace) -> int:
    """Run the trial; return the exit status."""
    import json
    import sys

    from ptp_cli.process_setup import own_domain
    from ptp_cli.two_machines_trial import Trial, TrialSettings
    from ptp_core.data.files import claim, write_atomically
    from ptp_core.progress import Bar

    require_above_zero(args, "cut", "patience", "max_steps")
    out = args.out.resolve()
    claim(out, "ptp two-machines", ["robot", "far"])
    settings = TrialSettings(
        cut=args.cut,
        patience=args.patience,
        checkpoint=str(args.checkpoint or released_checkpoint()),
        out=out,
        max_steps=args.max_steps,
        params_file=str(args.params_file.resolve()) if args.params_file else "",
    )
    form = "{desc}: {elapsed}{postfix}"
    with own_domain(), Bar(desc="two machines", bar_format=form, file=sys.stderr) as bar:

        def progress(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(0)

        report = Trial(settings, progress).run()
    figures = report.as_dict()
    path = args.json or out / "two_machines.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda partial: partial.write_text(json.dumps(figures, indent=2)))
    _print_two_machines(figures, args.cut, out)
    return 0 if report.passed else 1


def _print_two_machines(figures: dict, cut: float, out: Path) -> None:
    print(f"first weights of the far learner in use   {figures['found']:.1f} s")
    print(f"episodes recorded in {cut:g} s without link     {figures['recorded_in_cut']}")
    print(f"the learner has them all after            {figures['caught_up']:.1f} s")
    print(f"the policy uses what it learned after     {figures['in_use']:.1f} s")
    print(f"episodes recorded, and lost               {figures['recorded']}, {figures['lost']}")
    if figures["problem"]:
        print(figures["problem"])
    verdict = "passed" if figures["passed"] else "FAILED"
    print(f"{verdict}; what the nodes said: {out}/robot/nodes.log and {out}/far/nodes.log")
