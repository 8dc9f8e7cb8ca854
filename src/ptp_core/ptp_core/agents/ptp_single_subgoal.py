# SPDX-License-Identifier: Apache-2.0
"""Single-subgoal PTP: one subgoal of the coarsest generator, then the goal.

Ours, not in the paper; the method of the released checkpoint. PTP's planner searches for two
subgoals with dt60, and the second one is replaced by the goal.
"""

from ptp_core.agents.ptp import ptp_method

STRUCTURE = {
    "levels": 1,
    "horizons": "coarsest",
    "subgoals": 2,
    "subgoal_count": "total",
    "replace_final_subgoal": True,
}

METHODS = (
    ptp_method(
        "ptp_single_subgoal",
        "what the released checkpoint is made for, one subgoal of the coarsest generator, then "
        "the goal",
        STRUCTURE,
        subgoal_steps=None,
    ),
)
