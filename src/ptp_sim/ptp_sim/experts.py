# SPDX-License-Identifier: Apache-2.0
"""Scripted experts for the three primitives, driven by the exact state of the table.

An expert is asked once a control step for an action (5,) in [-1, 1]. When its work is done it
opens the gripper and rises, waits, drifts sideways for a while and waits again, each for a random
time. The authors' experts rise and drift until the end; the waiting shows how to stay at a goal.

The authors' experts align over a point first and then go down. Whether they go down depends on a
centimetre that no image shows, so policies that clone them hesitate there. ``smooth`` experts go
down the more the better they are aligned: their actions change gradually.
"""

from __future__ import annotations

import numpy as np

from ptp_sim.scene import (
    BLOCK_ON_TABLE_Z,
    CAN_QUADRANTS,
    CAN_RADIUS,
    opening_direction,
    wrap_half_turn,
)
from ptp_sim.world import TableState

GAIN = 20.0
"""Action per metre: a unit action moves the target by 5 cm, so this asks for the goal itself."""
YAW_GAIN = 1.0 / np.deg2rad(5.0)
TRAVEL_Z = -0.17
"""Height at which the hand, with or without the block, passes over everything [m]."""
RISE_STEPS = 10
FUNNEL = 0.04
"""Distance beyond the tolerance at which a smooth expert passes at TRAVEL_Z [m]."""
FUNNEL_TURN = np.deg2rad(20.0)
"""The same for the yaw error [rad]."""
TOO_LOW = 0.03
"""Height below the wanted one at which the hand rises before it goes on [m]."""


class Expert:
    """Base: the retreat after the work, and helpers to servo.

    Args:
        rng: for the drift after the work.
        smooth: go down while aligning, see the module.

    Attributes:
        done: whether the work is finished and the arm retreats.
        most_yaw: yaw of the tool to either side beyond which the expert does not turn [rad], at
            least a quarter turn; it then turns the other way round. A gripper is the same after
            half a turn, and an arm that always takes the shorter way ends at the limit of its
            wrist after some primitives. By default the shorter way is taken.

    """

    most_yaw = np.inf

    def __init__(self, rng: np.random.Generator, smooth: bool = False):
        self.done = False
        self.smooth = smooth
        self._retreat = 0
        self._drift = rng.uniform(-1.0, 1.0, 2)
        self._drift_start = RISE_STEPS + int(rng.integers(0, 21))
        self._drift_end = self._drift_start + int(rng.integers(5, 16))

    def act(self, state: TableState) -> np.ndarray:
        """Return the action for this state: float32 (5,) in [-1, 1]."""
        if not self.done:
            action = self._work(state)
        if self.done:
            action = self._leave()
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _work(self, state: TableState) -> np.ndarray:
        raise TypeError("an expert defines _work")

    def _leave(self) -> np.ndarray:
        self._retreat += 1
        if self._retreat <= RISE_STEPS:
            return np.array([0.0, 0.0, 1.0, 0.0, -1.0])
        drifting = self._drift_start < self._retreat <= self._drift_end
        drift = self._drift if drifting else np.zeros(2)
        return np.array([*drift, 0.0, 0.0, -1.0])

    def _toward(
        self, state: TableState, xy, z: float, yaw: float | None, gripper: float
    ) -> np.ndarray:
        turn = self._turn(state, yaw)
        return np.array(
            [
                GAIN * (xy[0] - state.tcp[0]),
                GAIN * (xy[1] - state.tcp[1]),
                GAIN * (z - state.tcp[2]),
                YAW_GAIN * turn,
                gripper,
            ]
        )

    def _turn(self, state: TableState, yaw: float | None) -> float:
        """How far the tool must turn [rad], 0 where any yaw will do."""
        if yaw is None:
            return 0.0
        turn = wrap_half_turn(yaw - state.tcp_yaw)
        if abs(state.tcp_yaw + turn) > self.most_yaw:
            turn -= np.sign(state.tcp_yaw + turn) * np.pi
        return turn

    def _travel(self, state: TableState, xy, yaw: float | None, gripper: float) -> np.ndarray:
        """Rise first, then go over the point; never sideways while low."""
        return self._at_height(state, xy, TRAVEL_Z, yaw, gripper)

    def _at_height(self, state, xy, z: float, yaw: float | None, gripper: float) -> np.ndarray:
        action = self._toward(state, xy, z, yaw, gripper)
        if state.tcp[2] < z - TOO_LOW:
            action[:2] = 0.0
        return action

    def _over(
        self,
        state: TableState,
        xy,
        low: float,
        yaw: float | None,
        gripper: float,
        tolerance: tuple[float, float, float],
    ) -> np.ndarray | None:
        """Go over a point and down to ``low`` [m]; None once the hand is there.

        ``tolerance``: horizontal distance [m] and yaw error [rad] within which to go down, and
        height above ``low`` that counts as there [m].
        """
        away, turn = _away(state, xy), abs(self._turn(state, yaw))
        near, straight, margin = tolerance
        aligned = away <= near and turn <= straight
        if aligned and state.tcp[2] <= low + margin:
            return None
        if aligned:
            return self._toward(state, xy, low, yaw, gripper)
        if not self.smooth:
            return self._travel(state, xy, yaw, gripper)
        off = min(max((away - near) / FUNNEL, (turn - straight) / FUNNEL_TURN), 1.0)
        return self._at_height(state, xy, low + off * (TRAVEL_Z - low), yaw, gripper)


def _away(state: TableState, xy) -> float:
    """Horizontal distance of the tool from a point [m]."""
    return float(np.hypot(xy[0] - state.tcp[0], xy[1] - state.tcp[1]))


class MoveDrawer(Expert):
    """Open or close the drawer: straddle the handle bar and drive it along.

    Args:
        opening: wanted travel of the drawer [m].
        rng, smooth: see `Expert`.

    """

    HANDLE_Z = -0.345
    DONE = 0.01

    def __init__(self, opening: float, rng: np.random.Generator, smooth: bool = False):
        super().__init__(rng, smooth)
        self.opening = opening
        self._low = False

    def _work(self, state: TableState) -> np.ndarray:
        yaw = state.drawer_yaw
        handle = state.handle[:2]
        missing = self.opening - state.drawer_opening
        if abs(missing) < self.DONE:
            self.done = True
            return np.zeros(5)
        if not self._low:
            tolerance = (0.012, np.deg2rad(5.0), 0.012)
            approach = self._over(state, handle, self.HANDLE_Z, yaw, -1.0, tolerance)
            if approach is not None:
                return approach
            self._low = True
        if _away(state, handle) > 0.06:
            self._low = False
        push = 1.5 * missing + np.sign(missing) * 0.02
        target = handle + push * opening_direction(yaw)
        return self._toward(state, target, self.HANDLE_Z, yaw, -1.0)


class MoveBlock(Expert):
    """Take the block and put it at a place.

    Args:
        goal: wanted centre of the block (3,) [m].
        physical: grasp by friction: align with the block and go down to it.
        rng, smooth: see `Expert`.

    """

    DONE = 0.015

    def __init__(self, goal, physical: bool, rng: np.random.Generator, smooth: bool = False):
        super().__init__(rng, smooth)
        self.goal = np.asarray(goal, float)
        self.physical = physical
        self._closing = False
        self._lifted = False
        self._above_goal = False

    def _work(self, state: TableState) -> np.ndarray:
        if not self._closing:
            return self._approach(state)
        if not self._gripped(state):
            if self._waited > 10:
                self._closing = False
            return self._close()
        return self._carry(state)

    def _close(self) -> np.ndarray:
        # At once: half-closed fingers look like open ones, so a policy on images would learn
        # the mean of both commands, which grasps nothing.
        self._waited += 1
        return np.array([0.0, 0.0, 0.0, 0.0, 1.0])

    def _approach(self, state: TableState) -> np.ndarray:
        yaw = state.block_yaw if self.physical else None
        # From higher up where the open fingers would meet the tray beside the drawer.
        low = state.block[2] + 0.002 if self.physical else max(state.block[2] + 0.045, -0.255)
        tolerance = (0.015, np.deg2rad(6.0), 0.008)
        approach = self._over(state, state.block, low, yaw, -1.0, tolerance)
        if approach is not None:
            return approach
        self._closing, self._waited = True, 0
        return self._close()

    def _gripped(self, state: TableState) -> bool:
        if self._lifted:
            return True
        if self.physical:
            self._lifted = self._waited >= 7
        else:
            self._lifted = state.holding
        return self._lifted

    def _carry(self, state: TableState) -> np.ndarray:
        away = _away(state, self.goal)
        if np.linalg.norm(state.block - state.tcp) > 0.06 and self._waited > 12:
            self._closing = self._lifted = self._above_goal = False
            return np.array([0.0, 0.0, 1.0, 0.0, -1.0])
        self._waited += 1
        if not self._above_goal:
            if away > self.DONE:
                return self._travel(state, self.goal, None, 1.0)
            self._above_goal = True
        drop = self.goal[2] + (0.012 if self.goal[2] < BLOCK_ON_TABLE_Z + 0.003 else 0.03)
        if state.tcp[2] > drop + 0.01:
            return self._toward(state, self.goal, drop, None, 1.0)
        self.done = True
        return np.zeros(5)


class SlideCan(Expert):
    """Push the can to a place from behind.

    Args:
        goal: wanted axis of the can (2,) [m].
        rng, smooth: see `Expert`.

    """

    PUSH_Z = -0.345
    DONE = 0.025
    BEHIND = CAN_RADIUS + 0.045
    BACK_STEPS = 2  # steps of backing off before it rises, smooth: a hand that rises along the can
    BACK = 0.6  # tips it over; share of an action's most

    def __init__(self, goal, rng: np.random.Generator, smooth: bool = False):
        super().__init__(rng, smooth)
        self.goal = np.asarray(goal, float)
        self._low = False
        self._along = np.zeros(2)  # direction of the push
        self._backed = 0

    def _work(self, state: TableState) -> np.ndarray:
        gap = self.goal - state.can[:2]
        distance = float(np.linalg.norm(gap))
        if distance < self.DONE:
            self.done = True
            return np.zeros(5)
        self._along = along = gap / distance
        yaw = float(np.arctan2(along[1], along[0]))
        stand = self.stand(state.can, along)
        if not self._low:
            tolerance = (0.015, np.deg2rad(8.0), 0.015)
            approach = self._over(state, stand, self.PUSH_Z, yaw, -1.0, tolerance)
            if approach is not None:
                return approach
            self._low = True
        offset = state.tcp[:2] - state.can[:2]
        if offset @ along > -0.02 or abs(offset @ np.array([-along[1], along[0]])) > 0.04:
            self._low = False
        push = -CAN_RADIUS + min(distance + 0.015, 0.05)
        return self._toward(state, state.can[:2] + push * along, self.PUSH_Z, yaw, -1.0)

    def _leave(self) -> np.ndarray:
        if self.smooth and self._backed < self.BACK_STEPS:
            self._backed += 1
            return np.array([*(-self.BACK * self._along), 0.0, 0.0, -1.0])
        return super()._leave()

    @classmethod
    def stand(cls, can, along) -> np.ndarray:
        """Point (x, y) behind the can, inside the arm's workspace."""
        point = np.asarray(can[:2]) - cls.BEHIND * np.asarray(along)
        return np.clip(point, (0.5, -0.2), (0.85, 0.2))


def slide_goal(quadrant: int) -> np.ndarray:
    """Where an expert slides the can: the quadrant's centre, 2.5 cm further out."""
    centre = np.asarray(CAN_QUADRANTS[quadrant])
    away = centre - np.mean(CAN_QUADRANTS, axis=0)
    return centre + 0.025 * away / np.linalg.norm(away)


def neighbours(quadrant: int) -> tuple[int, int]:
    """The two quadrants that share a side with this one."""
    return ((quadrant + 1) % 4, (quadrant - 1) % 4)
