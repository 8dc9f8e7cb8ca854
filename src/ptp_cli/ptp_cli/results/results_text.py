# SPDX-License-Identifier: Apache-2.0
"""Text of the results page. Its figures come from the result files.

Text is plain, with `code` and [links](...) as in Markdown; `as_html` converts it to HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_cli.report.report_figures import PAPER_OFFLINE, PAPER_ONLINE
from ptp_cli.results.results_tables import LEARNING, LIBRARY, PooledRuns

BOTH = f"{LIBRARY} and {LEARNING}"
SINGLE, FREE = "ptp_single_subgoal", "model_free"

LEAD = (
    "This page shows what the released networks reach with each method, without practice and "
    "after it. The command that makes the page reads every figure from JSON files in this folder."
)
READING = (
    "An episode is a success if the goal holds on the last observation, after 400 control steps "
    "of the policy's mean action (`ptp_legs`, `diffusion_bc`: of chunks sampled at temperature 0)."
    " The 95 % Wilson interval over the episodes of the row is in "
    "brackets. It covers the chance of an episode, not that of another training: the networks "
    "come from one training seed.",
    "Protocol `varied`: objects, start and goal image are drawn anew for each episode. The drawer "
    "moves by up to 3 cm. The demonstrations of `ptp_legs` and `diffusion_bc` show that; those of "
    "all other rows have the drawer in two places only, so that this protocol is partly out of "
    "distribution for them. Since 30 November 2026 the can stands in every goal image of B; "
    "before, in 3 of 20. Practice of B on `varied` was run before. Protocol `paper`: each task "
    "has one scene, in which only the block's yaw is drawn, and 32 goal images. As in the paper, "
    "practice and evaluation have the "
    "same scene there, with different seeds.",
    "The settings of the released networks and planner were chosen on the three scenes of "
    "`paper`, so a fresh seed of the same scenes is no hold-out. `varied` is the nearer estimate.",
    "`ptp_legs` and `diffusion_bc` have a checkpoint of their own, other demonstrations and a "
    "policy that sees proprioception: compare them with each other and their controls. All other "
    "rows share the networks for encoder, value function and (but for `gcbc`) policy. All rows "
    "share the seeds, and the timeout of a subgoal, except for those that say otherwise; 30 "
    "control steps are the paper's.",
    "There are two controls. `random` takes a plan from the method's generator without any "
    "search. `oracle` takes images of the stage ends of the scripted expert's plan: it needs the "
    "simulator, and no method's planner has a part in it. The column for privileged signals names "
    "what a row was told that no camera shows. The success check evaluates every row and is not "
    "listed there.",
)
EPISODES = (
    "The figures are means over the episodes of a row. Subgoals reached: those that the policy "
    "came near to before their timeout. Timed out: those that it left at their timeout. Cost: "
    "shares of the distance, value and prior terms in the cost of the plan that was pursued, by "
    "absolute value. Idle: steps with next to no motion. Distances are between latents."
)
PAPER_BOX = (
    "The paper's figures for PTP stand apart, because nothing above is comparable with them:",
    (
        "Its success is that of exploration with sampled actions, smoothed over ten epochs of "
        "five episodes. Here it is the last observation of evaluation episodes with mean actions.",
        "Its simulator, renderer, camera and success check are different.",
        "Its demonstrations are different: 4,000 with noise 0.05, 11 % of them of the drawer. "
        "Here they are 10,000 with noise 0.1 and primitives in equal parts.",
        "Its policy was fine-tuned online. Here the figures without practice and those of a plan "
        "library have frozen weights.",
        "A subgoal has 30 steps there, and 150 in the released settings here.",
    ),
)
PRACTICE = (
    "Each practice run keeps its `settings.json` and `result.json` unchanged. Where the weights "
    "learn, this is IQL on practised steps and demonstrations. A plan library learns nothing: it "
    "keeps plans with their record of success and reuses good ones, and its runs have 0 updates. "
    "Both used the simulator's success check, which is privileged. The paper's practice does not: "
    "its reward is a distance between latents. Runs of `ptp_single_subgoal` were written under "
    "the name `ptp`; the reader gives them their present name.",
)


def adaptation(manifest: Mapping[str, Any]) -> list[str]:
    """What the policy's last stage of training means for the comparison, a paragraph or none.

    ``manifest``: of the checkpoint, with the steps of each stage.
    """
    metrics = manifest.get("metrics", {})
    try:
        camera, drawn = metrics["iql"]["steps"], metrics["imagined"]["steps"]
        share = manifest["config"]["imagined"]["share"]
    except (KeyError, TypeError):
        return []
    return [
        f"The comparison favours the methods of PTP in one respect: in {drawn:,} of the policy's "
        f"{camera + drawn:,} updates, {_percent(share)} of the goals were as PTP's generators "
        "draw them. None were subgoals of `leap` or `gcp`. A comparison in which no method has "
        "this advantage, or every method, needs another training: the policy as it was before "
        "these updates is not released."
    ]


def paper_rows() -> list[tuple[str, str, str]]:
    """Task, success after offline training and after 150 epochs of practice, from the paper."""
    return [
        (task, f"{100 * rate:.1f} %", f"{100 * PAPER_ONLINE[task]:.1f} %")
        for task, rate in PAPER_OFFLINE.items()
    ]


def practice_findings(pooled: Sequence[PooledRuns]) -> list[str]:
    """What the runs of practice show, and what they do not, a sentence or two each."""
    findings = []
    for task in ("B", "C"):
        library = _find(pooled, "paper", SINGLE, LIBRARY, task)
        if library is not None and len(library.runs) > 1:
            findings.append(
                f"On `paper` a plan library alone, with frozen weights, raised {task} from "
                f"{_percent(library.rate(False))} to {_percent(library.rate(True))} "
                f"({len(library.runs)} seeds). This is one stored plan, used again in the scene "
                "in which it was found; it is not learning."
            )
    both = _find(pooled, "paper", SINGLE, BOTH, "C")
    library = _find(pooled, "paper", SINGLE, LIBRARY, "C")
    if both is not None and library is not None:
        seed = both.runs[0].settings["seed"]
        alone = [run for run in library.runs if run.settings["seed"] == seed]
        at = [e for run in alone for e in run.evaluations if e["epoch"] == both.epochs]
        if at:
            rate = at[0]["successes"] / at[0]["episodes"]
            findings.append(
                f"Learning beside the library made C worse: {_percent(both.rate(True))} after "
                f"{both.epochs} epochs, where the library alone had {_percent(rate)} "
                f"(seed {seed}, one run each)."
            )
    for group in pooled:
        after = [entry["successes"] for entry in group.runs[0].evaluations[1:]]
        if len(group.runs) == 1 and len(after) > 3 and len(set(after)) == 1:
            findings.append(
                f"{group.epochs} epochs of a plan library on {group.task} gave the same success "
                f"at every evaluation after practice began, {_percent(group.rate(True))}: more "
                "epochs add nothing once one plan is used again and again."
            )
    planned = _find(pooled, "varied", SINGLE, LEARNING, "A")
    free = _find(pooled, "varied", FREE, LEARNING, "A")
    if planned is not None and free is not None:
        findings.append(
            f"On `varied`, with {_seeds(planned)}, learning raised `{SINGLE}` on A from "
            f"{_percent(planned.rate(False))} to {_percent(planned.rate(True))} and `{FREE}` from "
            f"{_percent(free.rate(False))} to {_percent(free.rate(True))}: on A the gain comes "
            "from the policy and not from planning."
        )
    tasks = [_find(pooled, "varied", SINGLE, LEARNING, task) for task in ("B", "C")]
    for group in tasks:
        if group is not None:
            findings.append(
                f"On `varied`, {group.task}, `{SINGLE}` went from {group.rate_text(False)} to "
                f"{group.rate_text(True)} with {_seeds(group)}"
                + (": the intervals overlap." if _overlap(group) else ".")
            )
    return findings


def as_html(text: str) -> str:
    """Text with `code` and [links](...) as HTML."""
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', text)


def _find(
    pooled: Sequence[PooledRuns], protocol: str, method: str, kind: str, task: str
) -> PooledRuns | None:
    """The group with the most runs."""
    wanted = (protocol, method, kind, task)
    fitting = [g for g in pooled if (g.protocol, g.method, g.kind, g.task) == wanted]
    return max(fitting, key=lambda group: len(group.runs), default=None)


def _overlap(group: PooledRuns) -> bool:
    return group.interval(False)[1] >= group.interval(True)[0]


def _seeds(group: PooledRuns) -> str:
    return "one seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %".replace(".0 %", " %")
