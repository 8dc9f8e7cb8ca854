# SPDX-License-Identifier: Apache-2.0
"""Actions of PTP (dx, dy, dz, dyaw, gripper): scaling to SI units, and the TCP's workspace."""

from dataclasses import astuple, dataclass
from math import radians

import numpy as np

__all__ = ["ActionScale", "CartesianDelta", "Workspace"]


@dataclass(frozen=True)
class CartesianDelta:
    """One relative TCP command in the base frame, all float64.

    dx, dy, dz in metres; dyaw in radians about base z; gripper from -1 (open) to +1 (closed).
    """

    dx: float
    dy: float
    dz: float
    dyaw: float
    gripper: float

    def __post_init__(self) -> None:
        if not np.all(np.isfinite(astuple(self))):
            raise ValueError(f"{self} has a value that is not finite: drop the command")

    @property
    def translation(self) -> np.ndarray:
        """(dx, dy, dz) as a (3,) float64 array in metres."""
        return np.array([self.dx, self.dy, self.dz])


@dataclass(frozen=True)
class ActionScale:
    """Scale of a normalised action: the one place where [-1, 1] becomes metres and radians."""

    # metres per unit; the authors' simulator and demonstrations use 0.05
    translation: float = 0.05
    # radians per unit; the authors' simulator uses 5 degrees
    rotation: float = radians(5.0)

    def __post_init__(self) -> None:
        for name, value in (("translation", self.translation), ("rotation", self.rotation)):
            if not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"ActionScale.{name} must be finite and positive, not {value}")

    def to_delta(self, action: np.ndarray) -> CartesianDelta:
        """Turn an action (5,) of (dx, dy, dz, dyaw, gripper) into SI units.

        Components outside [-1, 1] are clipped. Raises ValueError for another shape or for a
        value that is not finite.
        """
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (5,):
            raise ValueError(f"an action has shape (5,), not {values.shape}")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"action {values.tolist()} has a value that is not finite")
        dx, dy, dz, dyaw, gripper = np.clip(values, -1.0, 1.0).tolist()
        return CartesianDelta(
            dx * self.translation,
            dy * self.translation,
            dz * self.translation,
            dyaw * self.rotation,
            gripper,
        )

    def to_action(self, delta: CartesianDelta) -> np.ndarray:
        """Inverse of `to_delta`: a float32 (5,) action, clipped to [-1, 1]."""
        values = np.array(
            [
                delta.dx / self.translation,
                delta.dy / self.translation,
                delta.dz / self.translation,
                delta.dyaw / self.rotation,
                delta.gripper,
            ]
        )
        return np.clip(values, -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Workspace:
    """Axis-aligned box of allowed TCP positions in the base frame, metres.

    The default is the box of the authors' simulator; it lies below the arm's mount plane.
    """

    lower: tuple[float, float, float] = (0.5, -0.2, -0.36)
    upper: tuple[float, float, float] = (0.85, 0.2, -0.1)

    def __post_init__(self) -> None:
        low, high = np.asarray(self.lower, float), np.asarray(self.upper, float)
        if low.shape != (3,) or high.shape != (3,) or not np.all(low < high):
            raise ValueError(
                f"Workspace needs three bounds with lower < upper, not {self.lower}, {self.upper}"
            )

    def clip(self, position: np.ndarray) -> np.ndarray:
        """Nearest point (3,) of the box to `position` (3,)."""
        return np.minimum(np.maximum(position, self.lower), self.upper)

    def contains(self, position: np.ndarray, tolerance: float = 0.0) -> bool:
        """Whether `position` (3,) lies in the box grown by `tolerance` metres."""
        point = np.asarray(position, dtype=np.float64)
        low = np.asarray(self.lower) - tolerance
        high = np.asarray(self.upper) + tolerance
        return bool(np.all(point >= low) and np.all(point <= high))

    def corners(self) -> np.ndarray:
        """The eight corners, (8, 3) float64."""
        axes = zip(self.lower, self.upper, strict=True)
        return np.array(np.meshgrid(*axes, indexing="ij"), dtype=np.float64).reshape(3, 8).T
