# SPDX-License-Identifier: Apache-2.0
"""The simulated camera over the table, with PyBullet's software renderer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pybullet

from ptp_sim.scene import Colour

Paint = tuple[Colour | None, Colour | None]
"""Colours of table and walls; None for the usual ones."""
NOTHING = 0.9999
"""Depth-buffer value from which on a pixel shows no body."""


@dataclass(frozen=True)
class CameraConfig:
    """Pose and lens of the camera (reference: the authors' environment).

    Attributes:
        target: point that the camera looks at [m, base frame].
        distance: from camera to target [m].
        yaw, pitch: direction of view [deg].
        field_of_view: vertical [deg].
        near, far: clipping planes [m].
        size: edge of the square observation [px].
        oversampling: each observation pixel is the mean of this many squared.

    """

    target: tuple[float, float, float] = (0.7, 0.0, -0.25)
    distance: float = 0.5
    yaw: float = 90.0
    pitch: float = -27.0
    field_of_view: float = 60.0
    near: float = 0.1
    far: float = 2.0
    size: int = 48
    oversampling: int = 2


class Camera:
    """Renders a client's bodies over a background that never moves.

    The table and its walls fill most of the image and most of the rendering time, and nothing
    that moves can be behind them. So they are drawn once, in a client of their own, and every
    image draws only the moving bodies over them.
    """

    def __init__(self, client: int, background_urdf: str, config: CameraConfig | None = None):
        self.config = config or CameraConfig()
        self._client = client
        self._background_urdf = background_urdf
        self._backgrounds: dict[tuple[int, Paint], np.ndarray] = {}
        self._paint: Paint = (None, None)
        c = self.config
        self._view = pybullet.computeViewMatrixFromYawPitchRoll(
            c.target, c.distance, c.yaw, c.pitch, 0.0, 2
        )
        self._projection = pybullet.computeProjectionMatrixFOV(c.field_of_view, 1.0, c.near, c.far)

    def observe(self) -> np.ndarray:
        """Return the observation: uint8 (size, size, 3) RGB, area-reduced."""
        size = self.config.size
        large = self.render(size * self.config.oversampling)
        return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)

    def render(self, size: int) -> np.ndarray:
        """Return a square image without reduction: uint8 (size, size, 3) RGB."""
        rgb, depth = self._shoot(self._client, size)
        moving = depth < NOTHING
        image = self._background(size).copy()
        image[moving] = rgb[moving]
        return image

    def paint(self, table: Colour | None, walls: Colour | None) -> None:
        """Give the background other colours from now on; None: the usual ones."""
        self._paint = table, walls

    def _background(self, size: int) -> np.ndarray:
        key = size, self._paint
        if key not in self._backgrounds:
            client = pybullet.connect(pybullet.DIRECT)
            body = pybullet.loadURDF(
                self._background_urdf, useFixedBase=True, physicsClientId=client
            )
            shapes = len(pybullet.getVisualShapeData(body, physicsClientId=client))
            table, walls = self._paint  # the table is the first shape, all others are walls
            for shape, colour in enumerate((table, *[walls] * (shapes - 1))):
                if colour is not None:
                    pybullet.changeVisualShape(
                        body,
                        -1,
                        shapeIndex=shape,
                        rgbaColor=(*colour, 1.0),
                        physicsClientId=client,
                    )
            self._backgrounds[key] = self._shoot(client, size)[0].copy()
            pybullet.disconnect(client)
        return self._backgrounds[key]

    def _shoot(self, client: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        _, _, rgba, depth, _ = pybullet.getCameraImage(
            size,
            size,
            self._view,
            self._projection,
            lightDirection=[1, 1, 1],
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=client,
        )
        rgb = np.asarray(rgba, np.uint8).reshape(size, size, 4)[:, :, :3]
        return rgb, np.asarray(depth, np.float32).reshape(size, size)
