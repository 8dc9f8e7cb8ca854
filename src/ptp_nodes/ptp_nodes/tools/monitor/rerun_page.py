# SPDX-License-Identifier: Apache-2.0
"""Drawing on a Rerun recording. Only this module needs Rerun's SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from ptp_description import sawyer_urdf_path
from ptp_nodes.tools.monitor.monitor_board import (
    BLANK,
    CAMERA,
    GOAL,
    OBSERVATION,
    PLAN,
    PURSUED,
    Board,
    MonitorNode,
)
from ptp_robot.action import Workspace
from ptp_robot.urdf import ArmShapes, read_shapes
from ptp_ros.node_main import background_node

NAME = "ptp_monitor"
TIMELINE = "time"
ORANGE = (255, 170, 0)
WHITE = (230, 230, 230)
TABLE = -0.38  # m, height of the grid: the simulated table's top
WINDOW = 120.0  # s of the curves that are shown

TITLES = {
    CAMERA: "camera",
    OBSERVATION: "what the policy sees",
    PURSUED: "pursued now",
    GOAL: "goal",
}
# Plots of each node: title and curves. Another node's curves share one plot.
PLOTS = {
    "policy": (
        ("distance to what is pursued", ("distance",)),
        ("latency [ms]", ("latency_ms", "inference_ms")),
    ),
    "practice": (
        (
            "success and interventions",
            ("success_rate", "recent_success_rate", "intervention_rate"),
        ),
    ),
    "planner": (("cost of the plan", ("cost",)),),
    "learner": (
        ("losses", ("value/loss", "q/loss", "policy/loss")),
        ("replay buffer", ("buffer_size", "steps", "updates")),
    ),
    "recorder": (),
}
AT_FIRST = ("policy", "practice", "planner")  # nodes whose plots are there before their curves


class Page:
    """A `Canvas` on a Rerun recording."""

    def __init__(self, recording: rr.RecordingStream, shapes: ArmShapes) -> None:
        self._recording = recording
        self._boxes = shapes.boxes
        self._nodes = list(AT_FIRST)
        recording.send_blueprint(layout(self._nodes))
        self._draw_arm(shapes)
        for name in TITLES:
            self.image(name, BLANK)

    def image(self, name: str, pixels: np.ndarray) -> None:
        """Show an image in the place of that name."""
        self._log(f"images/{name}", rr.Image(pixels))

    def number(self, node: str, name: str, value: float) -> None:
        """Add a point to a curve; a node's first one gives it a plot."""
        if node not in self._nodes:
            self._nodes.append(node)
            self._recording.send_blueprint(layout(self._nodes))
        self._log(f"curves/{node}/{name}", rr.Scalars(value))

    def links(self, frames: Mapping[str, np.ndarray]) -> None:
        """Move the arm's boxes, all in one message."""
        poses = np.array([frames[box.link] @ box.pose for box in self._boxes])
        turns = [rr.Quaternion(xyzw=quaternion(pose[:3, :3])) for pose in poses]
        self._log("arm", rr.Boxes3D.from_fields(centers=poses[:, :3, 3], quaternions=turns))

    def trace(self, points: np.ndarray) -> None:
        """Show the way of the tool."""
        self._log("way", rr.LineStrips3D([points], colors=[ORANGE], radii=[0.002]))
        if len(points):
            self._log("tool", rr.Points3D(points[-1:], colors=[ORANGE], radii=[0.012]))

    def text(self, markdown: str) -> None:
        """Show where the run stands."""
        self._log("run", rr.TextDocument(markdown, media_type=rr.MediaType.MARKDOWN))

    def _log(self, path: str, what: rr.AsComponents) -> None:
        self._recording.set_time(TIMELINE, timestamp=time.time())
        self._recording.log(path, what)

    def _draw_arm(self, shapes: ArmShapes) -> None:
        log = self._recording.log
        log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        look = rr.Boxes3D.from_fields(
            half_sizes=[np.array(box.size) / 2 for box in self._boxes],
            colors=[[round(255 * part) for part in box.color] for box in self._boxes],
            fill_mode="solid",
        )
        log("arm", look, static=True)
        space = Workspace()
        low, high = np.array(space.lower), np.array(space.upper)
        outline = rr.Boxes3D(
            mins=[low],
            sizes=[high - low],
            colors=[WHITE],
            radii=[0.001],
            fill_mode="majorwireframe",
        )
        log("workspace", outline, static=True)
        self.links(shapes.frames({}))


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion (x, y, z, w) of a rotation matrix (3, 3)."""
    # The matrix whose eigenvector of the largest eigenvalue is the quaternion (Bar-Itzhack 2000).
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0, 0.0],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0.0, 0.0],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], 0.0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    return np.linalg.eigh(k / 3.0, UPLO="L")[1][:, -1]


def layout(nodes: Sequence[str]) -> rrb.Blueprint:
    """Images on top, the plan below, then the arm and the plots of these nodes."""
    images = [
        rrb.Spatial2DView(origin=f"images/{name}", name=title) for name, title in TITLES.items()
    ]
    plots = [
        _plot(title, [f"+ curves/{node}/{curve}" for curve in curves])
        for node in nodes
        for title, curves in PLOTS.get(node, ((node, ("**",)),))
    ]
    arm = rrb.Spatial3DView(
        origin="/",
        contents=["+ arm", "+ way", "+ tool", "+ workspace"],
        name="arm",
        background=(32, 34, 40),
        line_grid=rrb.LineGrid3D(
            visible=True, spacing=0.1, plane=rr.components.Plane3D((0.0, 0.0, 1.0), TABLE)
        ),
        eye_controls=rrb.EyeControls3D(
            position=(1.5, 1.0, 0.35), look_target=(0.42, 0.0, -0.02), eye_up=(0.0, 0.0, 1.0)
        ),
    )
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.TextDocumentView(origin="run", name="run", titlebar=False),
            rrb.Horizontal(*images),
            rrb.Spatial2DView(origin=f"images/{PLAN}", name="plan, what is pursued is framed"),
            rrb.Horizontal(
                arm,
                rrb.Grid(*plots, grid_columns=2 if len(plots) < 5 else 3),
                column_shares=[2, 3],
            ),
            row_shares=[0.6, 4.2, 2.3, 6.0],
        ),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE, play_state="following"),
        auto_views=False,
        auto_layout=False,
    )


def _plot(title: str, contents: list[str]) -> rrb.TimeSeriesView:
    shares = all(path.endswith("_rate") for path in contents)
    several = len(contents) > 1 or contents[0].endswith("**")
    return rrb.TimeSeriesView(
        name=title,
        contents=contents,
        axis_y=rrb.ScalarAxis(range=(-0.05, 1.05)) if shares else None,
        plot_legend=rrb.PlotLegend("LeftTop", visible=several),
        time_ranges=rrb.VisibleTimeRange(
            TIMELINE,
            start=rrb.TimeRangeBoundary.cursor_relative(seconds=-WINDOW),
            end=rrb.TimeRangeBoundary.cursor_relative(),
        ),
    )


@contextmanager
def showing(
    recording: rr.RecordingStream, rate: float, domain: int | None = None
) -> Iterator[None]:
    """Draw what happens on the graph into ``recording`` while the block runs."""
    shapes = read_shapes(sawyer_urdf_path())
    board = Board(Page(recording, shapes), shapes, rate)
    with background_node(lambda context: MonitorNode(board, context=context), domain):
        yield


def recording_to(uri: str) -> rr.RecordingStream:
    """A recording that goes to a server."""
    recording = rr.RecordingStream(NAME)
    recording.connect_grpc(uri)
    return recording
