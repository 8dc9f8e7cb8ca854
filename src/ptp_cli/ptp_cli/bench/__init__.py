# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of `ptp bench`: one module for each group, with measure(settings) -> figures."""

# Group -> how the names of its figures begin. Each group is the module of that name.
GROUPS: dict[str, tuple[str, ...]] = {
    "sim": ("sim_",),
    "ik": ("ik_",),
    "policy": ("policy_", "encode_", "act_"),
    "plan": ("plan_",),
    "learn": ("learn_", "vqvae_", "iql_", "replay_"),
    "peers": ("peers_",),
    "control": ("control_",),
    "practice": ("practice_",),
}
