# SPDX-License-Identifier: Apache-2.0
"""Steps a second of practice: through the graph in lock-step, and in one process."""

from __future__ import annotations

from ptp_cli.bench.control import CORES, TASK, run_stack
from ptp_cli.bench.settings import BenchSettings, Figures
from ptp_cli.bench.timing import available_cores, cores
from ptp_core.planners.factory import planner_config
from ptp_core.practice.evaluation import EvaluationConfig, evaluate


def measure(settings: BenchSettings) -> Figures:
    """The same episodes in process, through the graph, and through it with the learner beside."""
    settings.load()  # a damaged checkpoint is an error now, not a minute's wait later
    used = min(CORES, available_cores())
    steps, episodes = settings.pick(400, 20), settings.pick(3, 1)
    config = EvaluationConfig(
        checkpoint=settings.checkpoint_folder(),
        tasks=(TASK,),
        episodes=episodes,
        max_steps=steps,
        planner=planner_config("fast"),
    )
    given = {"episodes": str(episodes), "max_steps": str(steps), "record_images": "false"}
    with cores(used):
        alone = evaluate(config, workers=0, progress=False)["tasks"][TASK]["steps_per_second"]
        graph = run_stack("practice", settings, {**given, "learn": "false"})
        learning = run_stack("practice", settings, {**given, "learn": "true"})
    return {
        "practice_cores": used,
        "practice_steps": steps * episodes,
        "practice_in_process_steps_per_s": alone,
        "practice_steps_per_s": graph["steps_per_second"],
        "practice_learning_steps_per_s": learning["steps_per_second"],
        "practice_ratio": graph["steps_per_second"] / alone,
        "practice_latency_p99_ms": graph["control_latency_ms"]["p99"],
    }
