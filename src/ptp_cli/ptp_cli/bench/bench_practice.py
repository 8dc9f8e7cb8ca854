# SPDX-License-Identifier: Apache-2.0
"""Benchmark of practice: control steps per second in lock-step on the graph and in process."""

from __future__ import annotations

from statistics import median

from ptp_cli.bench.bench_control import CORES, TASK, run_stack
from ptp_cli.bench.measuring import BenchSettings, Figures, available_cores, cores
from ptp_cli.options import ENV
from ptp_core.config.loading import planner_settings
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate

ROUNDS = 3


def measure(settings: BenchSettings) -> Figures:
    """The same episodes in process, through the graph, and through it with the learner beside.

    In turns, and the medians count: the speed of a shared machine changes from minute to minute.
    """
    settings.load()  # a damaged checkpoint is an error now, not a minute's wait later
    used = min(CORES, available_cores())
    steps, episodes = settings.pick(400, 20), settings.pick(3, 1)
    config = EvaluationConfig(
        checkpoint=settings.checkpoint_folder(),
        env=ENV,
        tasks=(TASK,),
        episodes=episodes,
        max_steps=steps,
        method="ptp",  # as on the graph
        planner=planner_settings("fast"),
    )
    given = {"episodes": str(episodes), "max_steps": str(steps), "record_images": "false"}
    runs: dict[str, list[dict]] = {"alone": [], "graph": [], "learning": []}
    with cores(used):
        for _ in range(settings.pick(ROUNDS, 1)):
            runs["alone"].append(evaluate(config, num_envs=0, progress=False)["tasks"][TASK])
            for name, learn in (("graph", "false"), ("learning", "true")):
                runs[name].append(run_stack("practice", settings, {**given, "learn": learn}))
    speed = {name: median(run["steps_per_second"] for run in runs[name]) for name in runs}
    return {
        "practice_cores": used,
        "practice_rounds": len(runs["graph"]),
        "practice_steps": steps * episodes,
        "practice_in_process_steps_per_s": speed["alone"],
        "practice_steps_per_s": speed["graph"],
        "practice_learning_steps_per_s": speed["learning"],
        "practice_ratio": speed["graph"] / speed["alone"],
        "practice_latency_p99_ms": median(
            run["control_latency_ms"]["p99"] for run in runs["graph"]
        ),
    }
