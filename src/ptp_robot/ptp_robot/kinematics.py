# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the Sawyer arm with the tool pointing straight down.

Frames: the base frame of the URDF (x forward, z up) and the TCP `gripper_tip` (z along the
fingers, y along the finger axis). Only numpy is needed, so that the simulator and a real arm's
driver move the joints alike.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptp_robot.action import Workspace
from ptp_robot.urdf import KinematicsError, read_chain

__all__ = [
    "ARM_JOINTS",
    "REST_CONFIGURATION",
    "IKConfig",
    "IKResult",
    "KinematicsError",
    "SawyerKinematics",
    "downward_rotation",
    "workspace_results",
]

ARM_JOINTS = tuple(f"right_j{i}" for i in range(7))

# TCP at (0.675, 0, -0.23), yaw 0. The table lies below the mount plane, where the usual elbow-up
# posture nears the wrist singularity (condition number above 70 in the far upper part of the box);
# this elbow-right member of the same self-motion keeps it below 20 and clears the table.
REST_CONFIGURATION = (-1.0118, 0.1184, 1.4187, 1.4641, -1.6737, 1.4079, 2.2150)


@dataclass(frozen=True)
class IKConfig:
    """Settings of the damped least-squares solver."""

    iterations: int = 10
    # m and rad at which the iteration stops
    position_stop: float = 1e-5
    rotation_stop: float = 1e-4
    # m and rad up to which the result counts as solved
    position_tolerance: float = 1e-4
    rotation_tolerance: float = 1e-3
    # distance kept from each joint's limit, rad (moveit_servo's default)
    joint_margin: float = 0.1
    # added to J J^T far from singularities / at a singularity (unit: m^2, rad^2)
    damping: float = 1e-8
    singular_damping: float = 1e-3
    # sqrt(det(J J^T)) below which the damping grows
    singular_manipulability: float = 0.02
    # share of the way to the rest posture taken in the null space, once a solve
    rest_gain: float = 0.1
    # largest joint change of one iteration, rad: the linearisation holds for no more
    iteration_step: float = 0.4


@dataclass(frozen=True)
class IKResult:
    """Outcome of `SawyerKinematics.solve`.

    q (7,) float64 rad, always within the limits less the margin; position_error in m;
    rotation_error in rad; ok: both errors are within tolerance and no step cap was hit.
    """

    q: np.ndarray
    position_error: float
    rotation_error: float
    ok: bool
    iterations: int


def downward_rotation(yaw: float) -> np.ndarray:
    """Rotation (3, 3) of the TCP with its z axis along -base z.

    Yaw 0 has the finger axis, tool y, along base y and tool x along -base x; a positive yaw
    turns the tool counter-clockwise seen from above. Of the two tools with that finger line this
    one keeps right_j6 near the middle of its range for yaw from -100 to +190 degrees. The fingers
    are alike, so that a grasp depends on yaw modulo pi only.
    """
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[-c, -s, 0.0], [-s, c, 0.0], [0.0, 0.0, -1.0]])


class SawyerKinematics:
    """Forward and inverse kinematics of a chain of n >= 6 revolute joints about local z.

    The Sawyer's seven, unless a rest posture of another arm is given.
    """

    def __init__(
        self,
        fixed: np.ndarray,
        tip: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        velocity: np.ndarray,
        rest: np.ndarray | None = None,
        config: IKConfig | None = None,
    ) -> None:
        """Take the chain's constants.

        fixed (n, 4, 4): pose of each joint in the frame before it, at zero angle; tip (4, 4):
        pose of the TCP in the last link; lower, upper (n,) rad; velocity (n,) rad/s; rest (n,)
        rad: the posture that the null space is pulled to, the Sawyer's where it is None.
        """
        self.config = config or IKConfig()
        self.lower, self.upper, self.velocity = (
            np.array(a, dtype=np.float64) for a in (lower, upper, velocity)
        )
        self.rest_configuration = np.array(
            REST_CONFIGURATION if rest is None else rest, dtype=np.float64
        )
        # T(q) = constant + cos q * cosine + sin q * sine, for T = fixed @ Rz(q)
        self._constant = np.array(fixed, dtype=np.float64)
        self._cosine = np.zeros_like(self._constant)
        self._sine = np.zeros_like(self._constant)
        self._cosine[:, :, :2] = self._constant[:, :, :2]
        self._sine[:, :, 0] = self._constant[:, :, 1]
        self._sine[:, :, 1] = -self._constant[:, :, 0]
        self._constant[:, :, :2] = 0.0
        self._tip = np.array(tip, dtype=np.float64)
        margin = self.config.joint_margin
        self._soft_lower, self._soft_upper = self.lower + margin, self.upper - margin
        # The last joint only turns the tool: pulling it would bend the elbow for no reason.
        self._rest_weight = np.ones(len(self.lower))
        self._rest_weight[-1] = 0.0

    @classmethod
    def from_urdf(
        cls, path: str | Path, tip: str = "gripper_tip", base: str = "base", **options
    ) -> "SawyerKinematics":
        """Read the chain from `base` to `tip` of a URDF file.

        Raises KinematicsError when the file is no URDF, the frames are missing, or the chain is
        not of revolute joints about local z. Without ``rest`` it must be the Sawyer's, right_j0 to
        right_j6; with it, any of at least six.
        """
        chain = read_chain(Path(path), base, tip)
        rest = options.get("rest")
        if rest is None and chain.names != ARM_JOINTS:
            raise KinematicsError(
                f"{path}: the chain to {tip!r} must be the joints {', '.join(ARM_JOINTS)}, "
                f"but its moving joints are {', '.join(chain.names) or 'none'}; another arm needs "
                "a rest posture"
            )
        if len(chain.names) < 6 or (rest is not None and len(rest) != len(chain.names)):
            raise KinematicsError(
                f"{path}: the chain to {tip!r} has {len(chain.names)} moving joints; at least 6 "
                f"are needed, and a rest posture of as many numbers"
            )
        return cls(chain.fixed, chain.tip, chain.lower, chain.upper, chain.velocity, **options)

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """TCP position (3,) m and rotation (3, 3) in the base frame, for joints q (n,) rad."""
        tip = self._frames(np.asarray(q, dtype=np.float64))[1]
        return tip[:3, 3].copy(), tip[:3, :3].copy()

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Geometric Jacobian (6, n) in the base frame: rows m/rad then rad/rad."""
        return self._jacobian(*self._frames(np.asarray(q, dtype=np.float64)))

    def yaw(self, q: np.ndarray) -> float:
        """Yaw of the tool in (-pi, pi], see `downward_rotation`."""
        rotation = self.forward(q)[1]
        return math.atan2(-rotation[0, 1], rotation[1, 1])

    def solve(
        self,
        q_seed: np.ndarray,
        position: np.ndarray,
        yaw: float,
        *,
        iterations: int | None = None,
        rest_gain: float | None = None,
        max_step: float | None = None,
    ) -> IKResult:
        """Find joints near `q_seed` (n,) rad that put the TCP at `position` (3,) m and `yaw` rad.

        Damped least squares. The null space pulls toward the rest posture by `rest_gain`; a joint
        at its margin is held and the rest of the arm makes up for it. `max_step` caps the change
        of any joint from the seed, rad, by shortening the whole motion. The tool turns the short
        way round and never flips by a full turn to escape a joint limit. Deterministic. Raises
        ValueError for bad shapes and for values that are not finite; an unreachable target is no
        error but ok=False with the nearest joints found.
        """
        config = self.config
        seed = np.array(q_seed, dtype=np.float64)
        target = np.array(position, dtype=np.float64)
        if seed.shape != self.lower.shape or target.shape != (3,):
            raise ValueError(
                f"solve needs {self.lower.shape} joints, a (3,) position: {seed.shape}, "
                f"{target.shape}"
            )
        # A sum is finite only if each term is; cheaper than isfinite().all() here.
        if not math.isfinite(sum(seed.tolist()) + sum(target.tolist()) + yaw):
            raise ValueError("solve got joints, a position or a yaw that are not finite")
        rotation = downward_rotation(yaw)
        limit = config.iterations if iterations is None else iterations
        gain = config.rest_gain if rest_gain is None else rest_gain

        q = np.minimum(np.maximum(seed, self._soft_lower), self._soft_upper)
        frames, tip = self._frames(q)
        error, distance, angle = _pose_error(tip, target, rotation)
        best = (distance + angle, q, distance, angle)
        count = 0
        while count < limit:
            small = distance <= config.position_stop and angle <= config.rotation_stop
            if small and (count > 0 or gain == 0.0):
                break
            # Pulling once keeps the convergence of the later iterations quadratic.
            pull = None if count else gain * self._rest_weight * (self.rest_configuration - q)
            q = self._step(q, self._jacobian(frames, tip), error, pull)
            count += 1
            frames, tip = self._frames(q)
            error, distance, angle = _pose_error(tip, target, rotation)
            if distance + angle < best[0] or count == 1:
                best = (distance + angle, q, distance, angle)
        _, q, distance, angle = best
        if max_step is not None:
            change = q - seed
            largest = float(np.max(np.abs(change)))
            if largest > max_step:
                q = seed + change * (max_step / largest)
                _, distance, angle = _pose_error(self._frames(q)[1], target, rotation)
        ok = distance <= config.position_tolerance and angle <= config.rotation_tolerance
        return IKResult(q, distance, angle, ok, count)

    def _frames(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint frames (n, 4, 4) after each rotation, and the TCP pose (4, 4)."""
        cos, sin = np.cos(q)[:, None, None], np.sin(q)[:, None, None]
        frames = self._constant + cos * self._cosine + sin * self._sine
        pose = frames[0]
        for i in range(1, len(frames)):
            pose = pose @ frames[i]
            frames[i] = pose
        return frames, pose @ self._tip

    @staticmethod
    def _jacobian(frames: np.ndarray, tip: np.ndarray) -> np.ndarray:
        zx, zy, zz = frames[:, :3, 2].T
        rx, ry, rz = (tip[:3, 3] - frames[:, :3, 3]).T
        jacobian = np.empty((6, len(frames)))
        jacobian[0] = zy * rz - zz * ry
        jacobian[1] = zz * rx - zx * rz
        jacobian[2] = zx * ry - zy * rx
        jacobian[3:] = frames[:, :3, 2].T
        return jacobian

    def _step(
        self, q: np.ndarray, jacobian: np.ndarray, error: np.ndarray, pull: np.ndarray | None
    ) -> np.ndarray:
        """One damped step; joints that would pass their margin are held and the step redone."""
        free = None
        while True:
            j = jacobian if free is None else jacobian * free
            change = self._damped(j, error, pull if free is None or pull is None else pull * free)
            largest = float(np.abs(change).max())
            if largest > self.config.iteration_step:
                change *= self.config.iteration_step / largest
            moved = q + change
            inside = (moved >= self._soft_lower) & (moved <= self._soft_upper)
            if inside.all():
                return moved
            held = inside if free is None else inside & free.astype(bool)
            if not held.any() or (free is not None and held.sum() == free.sum()):
                return np.minimum(np.maximum(moved, self._soft_lower), self._soft_upper)
            free = held.astype(np.float64)

    def _damped(
        self, jacobian: np.ndarray, error: np.ndarray, pull: np.ndarray | None
    ) -> np.ndarray:
        """J^T (J J^T + damping)^-1 (e - J p) + p: the task first, the pull p in its null space."""
        config = self.config
        gram = jacobian @ jacobian.T
        gram.ravel()[::7] += config.damping
        factor = np.linalg.cholesky(gram)
        # The product of the factor's diagonal is sqrt(det): the manipulability, nearly.
        manipulability = math.prod(factor.ravel()[::7].tolist())
        if manipulability < config.singular_manipulability:
            ratio = 1.0 - manipulability / config.singular_manipulability
            gram.ravel()[::7] += config.singular_damping * ratio * ratio
            factor = np.linalg.cholesky(gram)
        if pull is None:
            return jacobian.T @ _substitute(factor, error)
        return jacobian.T @ _substitute(factor, error - jacobian @ pull) + pull


def _substitute(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L L^T x = right (6,) for a lower triangular L; half the time of a general solve."""
    rows, x = factor.tolist(), right.tolist()
    for i, row in enumerate(rows):
        value = x[i]
        for k in range(i):
            value -= row[k] * x[k]
        x[i] = value / row[i]
    for i in range(5, -1, -1):
        value = x[i] = x[i] / rows[i][i]
        row = rows[i]
        for k in range(i):
            x[k] -= row[k] * value
    return np.array(x)


def workspace_results(
    kinematics: SawyerKinematics,
    workspace: Workspace | None = None,
    yaws: tuple[float, ...] = (-math.pi / 2, 0.0, math.pi / 2),
) -> list[tuple[np.ndarray, float, IKResult]]:
    """Solve each corner of the box at each yaw from the rest posture: (corner, yaw, result)."""
    box = workspace or Workspace()
    return [
        (corner, yaw, kinematics.solve(kinematics.rest_configuration, corner, yaw, iterations=60))
        for corner in box.corners()
        for yaw in yaws
    ]


def _pose_error(
    tip: np.ndarray, position: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Twist (6,) from the TCP pose to the target, its distance in m and its angle in rad."""
    r = (rotation @ tip[:3, :3].T).tolist()
    dx, dy, dz = (position - tip[:3, 3]).tolist()
    x = 0.5 * (r[2][1] - r[1][2])
    y = 0.5 * (r[0][2] - r[2][0])
    z = 0.5 * (r[1][0] - r[0][1])
    sine = math.sqrt(x * x + y * y + z * z)
    angle = math.atan2(sine, 0.5 * (r[0][0] + r[1][1] + r[2][2] - 1.0))
    if sine > 1e-9:
        scale = angle / sine
    else:
        # A half turn has no unique axis: turn about base z, which keeps the tool down.
        scale = 1.0
        z = angle
    error = np.array([dx, dy, dz, x * scale, y * scale, z * scale])
    return error, math.sqrt(dx * dx + dy * dy + dz * dz), angle
