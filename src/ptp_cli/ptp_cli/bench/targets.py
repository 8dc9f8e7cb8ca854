# SPDX-License-Identifier: Apache-2.0
"""What figures are compared with: the project's own limits, and the authors' code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A limit that a figure must keep: at most, or at least."""

    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


TARGETS = {
    "sim_steps_per_s": Target(250.0, at_least=True),
    "sim_reset_ms": Target(50.0),
    "ik_median_ms": Target(1.0),
    "ik_residual_worst_mm": Target(0.1),
    "ik_joint_margin_rad": Target(0.1, at_least=True),
    "plan_descent_2_threads_s": Target(0.5),
    "plan_descent_cost_ratio": Target(1.05),
    "plan_warm_2_threads_s": Target(0.5),
    "plan_warm_cost_ratio": Target(1.05),
    "plan_best_time_share": Target(1 / 40),
    "plan_best_cost_ratio": Target(1.0),
    "replay_sample_speedup": Target(20.0, at_least=True),
    "replay_bytes_per_transition": Target(350.0),
    "peers_iql_ratio_paper_networks": Target(1.6, at_least=True),
    "peers_iql_ratio": Target(5.0, at_least=True),
    "control_latency_p99_ms": Target(20.0),
    "practice_ratio": Target(0.5, at_least=True),
}

# The authors' code (github.com/patrickhaoy/ptp) on a machine with two CPU cores and no GPU: one
# thread, unless the name says two.
AUTHORS = {
    "sim_steps_per_s": 26.0,  # rendered at 196 x 196, reduced to 48 x 48
    "sim_reset_ms": 420.0,
    "encode_ms": 4.4,
    "plan_paper_s": 156.5,
    "plan_paper_2_threads_s": 94.7,
    "plan_paper_networks_s": 156.5,
    "plan_paper_networks_2_threads_s": 94.7,
    "replay_sample_ms": 10.9,  # batch of 256
    "vqvae_images_per_s_paper_networks": 54.0,
    "iql_updates_per_s_paper_networks": 19.8,
}
