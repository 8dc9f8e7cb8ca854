# SPDX-License-Identifier: Apache-2.0
"""One subgoal of the coarsest generator, then the goal. Ours, not in the paper.

What the released checkpoint is made for. Of the two subgoals that PTP's planner searches for with
dt60, the second is the goal.
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
