# SPDX-License-Identifier: Apache-2.0
"""The boxes that a URDF draws an arm with, and where they are for given joint positions."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptp_robot.urdf import KinematicsError, numbers_of, origin_of

__all__ = ["ArmShapes", "Box", "read_shapes"]

GREY = (0.7, 0.7, 0.7, 1.0)


@dataclass(frozen=True)
class Box:
    """A box fixed to a link: size (3,) m, RGBA in [0, 1], pose (4, 4) in the link's frame."""

    link: str
    size: tuple[float, float, float]
    color: tuple[float, float, float, float]
    pose: np.ndarray


@dataclass(frozen=True)
class _Joint:
    """One joint; ``source`` is the joint whose position it takes: its own, or the mimicked."""

    kind: str
    parent: str
    child: str
    origin: np.ndarray
    axis: np.ndarray
    source: str
    multiplier: float
    offset: float


class ArmShapes:
    """Boxes of an arm, and the frames of its links."""

    def __init__(self, boxes: tuple[Box, ...], joints: tuple[_Joint, ...], root: str) -> None:
        self.boxes = boxes
        self._joints = joints
        self._root = root

    def frames(self, positions: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Pose (4, 4) of each link in the root's frame.

        ``positions`` are by joint name, rad or m; a joint that is not named is at zero.
        """
        frames = {self._root: np.eye(4)}
        for joint in self._joints:
            value = positions.get(joint.source, 0.0) * joint.multiplier + joint.offset
            frames[joint.child] = frames[joint.parent] @ joint.origin @ _motion(joint, value)
        return frames


def read_shapes(path: str | Path) -> ArmShapes:
    """Read the visual boxes and the joints of a URDF. Other shapes are left out.

    Raises KinematicsError when the file is no URDF or its links do not form one tree.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise KinematicsError(f"cannot read the URDF {path}: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise KinematicsError(f"{path} is not a whole URDF: {error}") from error
    colors = {e.get("name"): _color(e) for e in root.findall("material")}
    boxes = []
    for link in root.findall("link"):
        for visual in link.findall("visual"):
            box = visual.find("geometry/box")
            if box is not None:
                material = visual.find("material")
                own = (
                    None
                    if material is None
                    else _color(material) or colors.get(material.get("name"))
                )
                size = tuple(numbers_of(box, "size"))
                boxes.append(Box(link.get("name"), size, own or GREY, origin_of(visual)))
    joints = _sorted([_joint(element) for element in root.findall("joint")], path)
    children = {joint.child for joint in joints}
    roots = [e.get("name") for e in root.findall("link") if e.get("name") not in children]
    if len(roots) != 1:
        raise KinematicsError(f"{path}: the links form {len(roots)} trees, not one")
    return ArmShapes(tuple(boxes), joints, roots[0])


def _joint(element: ElementTree.Element) -> _Joint:
    mimic, axis = element.find("mimic"), element.find("axis")
    return _Joint(
        kind=element.get("type", "fixed"),
        parent=element.find("parent").get("link"),
        child=element.find("child").get("link"),
        origin=origin_of(element),
        axis=np.array([1.0, 0.0, 0.0] if axis is None else numbers_of(axis, "xyz")),
        source=element.get("name") if mimic is None else mimic.get("joint"),
        multiplier=1.0 if mimic is None else float(mimic.get("multiplier", "1")),
        offset=0.0 if mimic is None else float(mimic.get("offset", "0")),
    )


def _sorted(joints: list[_Joint], path: str | Path) -> tuple[_Joint, ...]:
    """Parents before children. Raises KinematicsError where there is a ring."""
    found, left = [], list(joints)
    while left:
        waiting = {joint.child for joint in left}
        ready = [joint for joint in left if joint.parent not in waiting]
        if not ready:
            raise KinematicsError(f"{path}: its joints form a ring")
        found += ready
        left = [joint for joint in left if joint.parent in waiting]
    return tuple(found)


def _motion(joint: _Joint, value: float) -> np.ndarray:
    """Pose (4, 4) of the child in the joint's frame at a position."""
    pose = np.eye(4)
    if joint.kind == "prismatic":
        pose[:3, 3] = value * joint.axis
    elif joint.kind in ("revolute", "continuous"):
        x, y, z = joint.axis / np.linalg.norm(joint.axis)
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        # Rodrigues' formula.
        pose[:3, :3] += math.sin(value) * cross + (1.0 - math.cos(value)) * cross @ cross
    return pose


def _color(material: ElementTree.Element) -> tuple[float, float, float, float] | None:
    color = material.find("color")
    return None if color is None else tuple(float(x) for x in color.get("rgba").split())
