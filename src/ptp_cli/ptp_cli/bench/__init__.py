# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of `ptp bench`: for each group, measure_GROUP(settings) -> figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchGroup:
    """Where a group is measured."""

    module: str  # of ptp_cli.bench
    prefixes: tuple[str, ...]  # of the names of its figures


GROUPS = {
    "sim": BenchGroup("bench_sim", ("sim_",)),
    "ik": BenchGroup("bench_control", ("ik_",)),
    "policy": BenchGroup("bench_agent", ("policy_", "encode_", "act_")),
    "plan": BenchGroup("bench_agent", ("plan_",)),
    "learn": BenchGroup("bench_learn", ("learn_", "vqvae_", "iql_", "replay_")),
    "peers": BenchGroup("bench_learn", ("peers_",)),
    "control": BenchGroup("bench_control", ("control_",)),
    "practice": BenchGroup("bench_control", ("practice_",)),
}
