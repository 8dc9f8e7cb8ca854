# SPDX-License-Identifier: Apache-2.0
"""The physics of the table: the arm, the drawer, the block and the can in one client."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import pybullet

from ptp_core.data.trajectory import Channel
from ptp_robot.action import CartesianDelta, Workspace
from ptp_sim.scene import (
    BLOCK_SIZE,
    CAN_HEIGHT,
    CAN_Z,
    DRAWER_Z,
    PLAIN,
    TABLE_Z,
    USUAL,
    Bodies,
    Colour,
    Distractor,
    Scene,
    Surroundings,
    handle_xy,
)
from ptp_sim.sim_arm import ArmConfig, SimArm
from ptp_sim.sim_camera import Camera, CameraConfig


@dataclass(frozen=True)
class WorldConfig:
    """Physics settings (reference: the authors' environment, except where stated).

    Attributes:
        time_step: of the physics [s].
        substeps: physics steps in one control step; 10 make 24 control steps a second.
        solver_iterations: of the constraint solver. The authors use 150; 50 give the same
            motions here in half the time.
        gravity: along z [m/s^2].
        drawer_friction: force that holds the drawer where it is left [N].
        settle_steps: physics steps after a reset, until objects lie still.

    """

    time_step: float = 1.0 / 240.0
    substeps: int = 10
    solver_iterations: int = 50
    gravity: float = -10.0
    drawer_friction: float = 2.0
    settle_steps: int = 20


DISTRACTOR_DENSITY = 600.0
"""Of wood [kg/m^3]."""
PROPRIOCEPTION = (
    *(Channel(name, "m") for name in ("tcp_x", "tcp_y", "tcp_z")),
    Channel("tcp_yaw", "rad"),
    Channel("gripper_opening", "m"),
)
"""Tool centre point and yaw in the base frame, and the distance between the finger pads."""


@dataclass(frozen=True)
class TableState:
    """Exact state for experts and success checks: positions [m], yaws [rad], in the base frame."""

    tcp: np.ndarray
    tcp_yaw: float
    gripper_opening: float
    holding: bool
    drawer_xy: np.ndarray
    drawer_yaw: float
    drawer_opening: float
    handle: np.ndarray
    block: np.ndarray
    block_yaw: float
    can: np.ndarray

    def scene(self) -> Scene:
        """The arrangement that this state shows."""
        return Scene(
            drawer_xy=(float(self.drawer_xy[0]), float(self.drawer_xy[1])),
            drawer_yaw=float(self.drawer_yaw),
            drawer_opening=float(self.drawer_opening),
            block_xyz=tuple(float(value) for value in self.block),
            block_yaw=float(self.block_yaw),
            can_xy=(float(self.can[0]), float(self.can[1])),
            tcp_xyz=tuple(float(value) for value in self.tcp),
            tcp_yaw=float(self.tcp_yaw),
        )

    def proprioception(self) -> np.ndarray:
        """The arm's own state, float32 (5,), as PROPRIOCEPTION names it."""
        return np.array([*self.tcp, self.tcp_yaw, self.gripper_opening], dtype=np.float32)

    def as_dict(self) -> dict:
        """Plain dictionary of copies, for `info["state"]`."""
        return {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}


class TableWorld:
    """One simulated table.

    The world is built once. A reset restores the saved state of the empty moment after building
    and moves the bodies, so that it costs milliseconds and owes nothing to what went before.
    """

    def __init__(
        self,
        grasp: str = "assisted",
        config: WorldConfig | None = None,
        arm: ArmConfig | None = None,
        camera: CameraConfig | None = None,
        workspace: Workspace | None = None,
    ):
        self.config = config or WorldConfig()
        self.workspace = workspace or Workspace()
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet opened no physics client: too many worlds in one process")
        assets = resources.files("ptp_sim") / "assets"
        c = self.config
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=c.time_step,
            numSolverIterations=c.solver_iterations,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        pybullet.setGravity(0, 0, c.gravity, physicsClientId=self._client)
        table = self._load(assets / "table.urdf", fixed=True)
        self._hide(table)
        self.arm = SimArm(self._client, self.workspace, grasp, arm)
        self._drawer = self._load(assets / "drawer.urdf", fixed=True)
        self._usual = self._load(assets / "block.urdf"), self._load(assets / "can.urdf")
        self._block, self._can = self._usual
        self.bodies, self.surroundings = USUAL, PLAIN
        self._distractors: list[int] = []
        self.arm.attach_to(self._block)
        pybullet.setJointMotorControl2(
            self._drawer,
            0,
            pybullet.VELOCITY_CONTROL,
            targetVelocity=0.0,
            force=c.drawer_friction,
            physicsClientId=self._client,
        )
        self.camera = Camera(self._client, str(assets / "table.urdf"), camera)
        self._park()
        self._saved = pybullet.saveState(physicsClientId=self._client)

    def _load(self, path, fixed: bool = False, size: float = 1.0) -> int:
        return pybullet.loadURDF(
            str(path),
            [0, 0, 5 * (not fixed)],
            useFixedBase=fixed,
            globalScaling=size,
            physicsClientId=self._client,
        )

    def _hide(self, body: int) -> None:
        for shape in pybullet.getVisualShapeData(body, physicsClientId=self._client):
            pybullet.changeVisualShape(
                body, shape[1], rgbaColor=(0, 0, 0, 0), physicsClientId=self._client
            )

    def close(self) -> None:
        """Free the physics client."""
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1

    def _use(self, bodies: Bodies) -> None:
        """Take other bodies as block and can, beside the usual ones, which stay parked.

        They are loaded for one episode and removed at the next reset, so that the usual world has
        the bodies of its saved state and nothing that was changed.
        """
        assets = resources.files("ptp_sim") / "assets"
        self._block = self._other(assets / "block.urdf", bodies, bodies.block_colour)
        self._can = self._other(assets / "can.urdf", bodies, bodies.can_colour)
        self.arm.grasp_body(self._block)

    def _other(self, path, bodies: Bodies, colour: Colour | None) -> int:
        body = self._load(path, size=bodies.size)
        mass, friction = pybullet.getDynamicsInfo(body, -1, physicsClientId=self._client)[:2]
        pybullet.changeDynamics(
            body,
            -1,
            mass=mass * bodies.size**3,
            lateralFriction=friction * bodies.friction,
            physicsClientId=self._client,
        )
        if colour is not None:
            pybullet.changeVisualShape(
                body, -1, rgbaColor=(*colour, 1.0), physicsClientId=self._client
            )
        return body

    def _use_usual(self) -> None:
        if self.bodies == USUAL:
            return
        self.arm.release()
        for body in (self._block, self._can):
            pybullet.removeBody(body, physicsClientId=self._client)
        self._block, self._can = self._usual
        self.arm.grasp_body(self._block)
        self.bodies = USUAL

    def _surround(self, surroundings: Surroundings) -> None:
        """Paint table and walls, and put distractors on the table for one episode."""
        self.surroundings = surroundings
        self.camera.paint(surroundings.table_colour, surroundings.wall_colour)
        self._distractors = [self._distractor(one) for one in surroundings.distractors]

    def _distractor(self, one: Distractor) -> int:
        c = self._client
        if one.shape == "cylinder":
            kind, how = pybullet.GEOM_CYLINDER, {"radius": one.radius}
            seen, felt = {"length": one.height}, {"height": one.height}
        else:
            edge = one.radius / np.sqrt(2.0)
            kind, how = pybullet.GEOM_BOX, {"halfExtents": (edge, edge, one.height / 2)}
            seen = felt = {}
        colour = (*one.colour, 1.0)
        return pybullet.createMultiBody(
            baseMass=DISTRACTOR_DENSITY * np.pi * one.radius**2 * one.height,
            baseCollisionShapeIndex=pybullet.createCollisionShape(
                kind, **how, **felt, physicsClientId=c
            ),
            baseVisualShapeIndex=pybullet.createVisualShape(
                kind, **how, **seen, rgbaColor=colour, physicsClientId=c
            ),
            basePosition=(*one.xy, TABLE_Z + one.height / 2),
            baseOrientation=pybullet.getQuaternionFromEuler((0, 0, one.yaw)),
            physicsClientId=c,
        )

    def _clear_surroundings(self) -> None:
        for body in self._distractors:
            pybullet.removeBody(body, physicsClientId=self._client)
        self._distractors, self.surroundings = [], PLAIN
        self.camera.paint(None, None)

    def reset(self, scene: Scene) -> None:
        """Arrange the table as the scene says and let everything come to rest.

        Raises:
            ValueError: the scene's start pose is out of the arm's reach.

        """
        self._use_usual()
        self._clear_surroundings()
        self._park()
        pybullet.restoreState(stateId=self._saved, physicsClientId=self._client)
        if scene.bodies != USUAL:
            self._use(scene.bodies)
            self.bodies = scene.bodies
        self._surround(scene.surroundings)
        grown = scene.bodies.size - 1.0  # a larger body's centre is higher
        x, y, z = scene.block_xyz
        self._put(self._drawer, (*scene.drawer_xy, DRAWER_Z), scene.drawer_yaw)
        pybullet.resetJointState(
            self._drawer, 0, scene.drawer_opening, 0.0, physicsClientId=self._client
        )
        self._put(self._block, (x, y, z + grown * BLOCK_SIZE[2] / 2), scene.block_yaw)
        self._put(self._can, (*scene.can_xy, CAN_Z + grown * CAN_HEIGHT / 2), 0.0)
        self.arm.place(scene.tcp_xyz, scene.tcp_yaw)
        self.run(self.config.settle_steps)

    def _park(self) -> None:
        """Take everything apart, so that the collision detection forgets what touched what.

        Bullet keeps the last separating axis of each pair of near shapes, and a saved state does
        not hold it: without this, a reset depends on the episode before in the last digits.
        """
        self.arm.park()
        for body, height in ((self._drawer, 4.0), (self._block, 6.0), (self._can, 8.0)):
            self._put(body, (0.0, 3.0, height), 0.0)
        pybullet.performCollisionDetection(physicsClientId=self._client)

    def _put(self, body: int, position, yaw: float) -> None:
        orientation = pybullet.getQuaternionFromEuler((0, 0, yaw))
        pybullet.resetBasePositionAndOrientation(
            body, position, orientation, physicsClientId=self._client
        )
        pybullet.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0), physicsClientId=self._client)

    def step(self, delta: CartesianDelta) -> None:
        """Run one control step of `substeps` physics steps."""
        self.arm.command(delta)
        self.run(self.config.substeps)

    def run(self, steps: int) -> None:
        """Run so many physics steps of `time_step` seconds; the motors keep their targets."""
        for _ in range(steps):
            pybullet.stepSimulation(physicsClientId=self._client)

    @property
    def step_seconds(self) -> float:
        """Simulated time of one control step [s]."""
        return self.config.time_step * self.config.substeps

    def observe(self) -> np.ndarray:
        """Camera observation: uint8 (48, 48, 3) RGB."""
        return self.camera.observe()

    def state(self) -> TableState:
        """Exact state of the table, for experts and success checks."""
        tcp, tcp_yaw = self.arm.pose()
        frame, drawer_yaw = self._pose(self._drawer)
        opening = pybullet.getJointState(self._drawer, 0, physicsClientId=self._client)[0]
        handle = handle_xy(frame[:2], drawer_yaw, opening)
        block, block_yaw = self._pose(self._block)
        can, _ = self._pose(self._can)
        return TableState(
            tcp=tcp,
            tcp_yaw=tcp_yaw,
            gripper_opening=self.arm.opening(),
            holding=self.arm.holding,
            drawer_xy=frame[:2],
            drawer_yaw=drawer_yaw,
            drawer_opening=opening,
            handle=np.array([*handle, DRAWER_Z]),
            block=block,
            block_yaw=block_yaw,
            can=can,
        )

    def _pose(self, body: int) -> tuple[np.ndarray, float]:
        position, orientation = pybullet.getBasePositionAndOrientation(
            body, physicsClientId=self._client
        )
        return np.array(position), pybullet.getEulerFromQuaternion(orientation)[2]
