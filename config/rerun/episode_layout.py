# SPDX-License-Identifier: Apache-2.0
"""Write the layout in which Rerun shows a recorded episode.

    python config/rerun/episode_layout.py out/ptp.rbl
    rerun episode_0.mcap out/ptp.rbl

Rerun stores layouts in a format of its version, so this file makes it anew.
"""

import sys

import rerun.blueprint as rrb

EPISODE = "episode_0"  # what Rerun calls a recording: the name of the bag's file


def episode_layout() -> rrb.Blueprint:
    """Camera, what the policy sees and the goal; below them, accepted command and gripper."""

    def image(topic: str, title: str) -> rrb.Spatial2DView:
        return rrb.Spatial2DView(origin=topic, name=title)

    def curves(title: str, *topics: str) -> rrb.TimeSeriesView:
        return rrb.TimeSeriesView(origin="/", contents=list(topics), name=title)

    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                image("/image_raw", "camera"),
                image("/observation/camera", "what the policy sees"),
                image("/goal_image", "goal"),
            ),
            rrb.Horizontal(
                curves("accepted command", "/arm/state/command"),
                curves("gripper", "/arm/state/gripper", "/arm/state/gripper_command"),
            ),
            row_shares=[3, 2],
        ),
        rrb.SelectionPanel(state="hidden"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.TimePanel(state="collapsed"),
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: episode_layout.py FILE.rbl")
    episode_layout().save(EPISODE, sys.argv[1])
