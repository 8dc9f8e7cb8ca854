# SPDX-License-Identifier: Apache-2.0
"""Read URDF files: the constants of a serial chain of revolute joints, and visual boxes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptp_core.data.file_limits import OverBudget, load_xml

__all__ = [
    "ArmShapes",
    "KinematicsError",
    "LinkBox",
    "SerialChain",
    "numbers_of",
    "origin_of",
    "read_chain",
    "read_shapes",
]


class KinematicsError(ValueError):
    """The URDF cannot be used for the arm; the message says why."""


@dataclass(frozen=True)
class SerialChain:
    """n revolute joints about local z, from a base link to a tip link.

    fixed (n, 4, 4): pose of each joint in the frame before it, at zero angle; tip (4, 4): pose of
    the tip in the last moving link; lower, upper (n,) rad; velocity (n,) rad/s. Lengths in metres.
    """

    names: tuple[str, ...]
    fixed: np.ndarray
    tip: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray


def _root(path: Path) -> ElementTree.Element:
    """The root of a URDF. Raises KinematicsError."""
    try:
        return load_xml(path)
    except OSError as error:
        raise KinematicsError(f"cannot read the URDF {path}: {error.strerror}") from error
    except OverBudget as error:
        raise KinematicsError(f"{path} is refused as a URDF: {error}") from error
    except ValueError as error:
        raise KinematicsError(f"{path} is not a whole URDF: {error}") from error


def read_chain(path: Path, base: str, tip: str) -> SerialChain:
    """Read the chain from link `base` to link `tip`, merging its fixed joints.

    Raises KinematicsError when the file is no URDF, a link is missing, or a moving joint is not
    revolute about its local z axis with limits.
    """
    root = _root(Path(path))
    names, fixed, limits, pose = [], [], [], np.eye(4)
    for joint in _path_to(root, base, tip, path):
        pose = pose @ origin_of(joint)
        if joint.get("type") == "fixed":
            continue
        name = joint.get("name", "")
        axis = joint.find("axis")
        turns_about_z = axis is not None and numbers_of(axis, "xyz") == [0.0, 0.0, 1.0]
        if joint.get("type") != "revolute" or not turns_about_z:
            raise KinematicsError(f"joint {name!r} in {path} must be revolute about local z")
        names.append(name)
        fixed.append(pose)
        limits.append(_limits(joint, path))
        pose = np.eye(4)
    lower, upper, velocity = np.array(limits).reshape(-1, 3).T
    return SerialChain(
        tuple(names), np.array(fixed).reshape(-1, 4, 4), pose, lower, upper, velocity
    )


def _path_to(
    root: ElementTree.Element, base: str, tip: str, path: Path
) -> list[ElementTree.Element]:
    """The joints from `base` to `tip`, in that order."""
    by_child = {}
    for joint in root.findall("joint"):
        child = joint.find("child")
        if child is not None and joint.find("parent") is not None:
            by_child[child.get("link")] = joint
    chain, link = [], tip
    while link != base:
        joint = by_child.get(link)
        if joint is None or joint in chain:
            raise KinematicsError(f"{path} has no chain of joints from link {base!r} to {tip!r}")
        chain.append(joint)
        link = joint.find("parent").get("link")
    return chain[::-1]


def _limits(joint: ElementTree.Element, path: Path) -> tuple[float, float, float]:
    """Lower, upper [rad] and velocity [rad/s] limit."""
    limit = joint.find("limit")
    try:
        lower, upper, velocity = (float(limit.get(key)) for key in ("lower", "upper", "velocity"))
    except (AttributeError, TypeError, ValueError) as error:
        raise KinematicsError(
            f"joint {joint.get('name')!r} in {path} needs numeric lower, upper, velocity limits"
        ) from error
    if not (math.isfinite(velocity) and -math.inf < lower < upper < math.inf):
        raise KinematicsError(
            f"joint {joint.get('name')!r} in {path} has limits {lower}, {upper}, {velocity}: "
            "they must be finite, lower below upper"
        )
    return lower, upper, velocity


def numbers_of(element: ElementTree.Element, key: str) -> list[float]:
    """Three numbers of an attribute; zeros where it is missing. Raises KinematicsError."""
    try:
        values = [float(x) for x in element.get(key, "0 0 0").split()]
    except ValueError as error:
        raise KinematicsError(f"<{element.tag} {key}> is not numeric") from error
    if len(values) != 3:
        raise KinematicsError(f"<{element.tag} {key}> needs three numbers, not {len(values)}")
    return values


def origin_of(joint: ElementTree.Element) -> np.ndarray:
    """Pose (4, 4) of a URDF <origin>: fixed-axis roll, pitch, yaw, then the translation."""
    pose = np.eye(4)
    origin = joint.find("origin")
    if origin is None:
        return pose
    roll, pitch, yaw = numbers_of(origin, "rpy")
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    pose[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    pose[:3, 3] = numbers_of(origin, "xyz")
    return pose


GREY = (0.7, 0.7, 0.7, 1.0)


@dataclass(frozen=True)
class LinkBox:
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

    def __init__(self, boxes: tuple[LinkBox, ...], joints: tuple[_Joint, ...], root: str) -> None:
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
    root = _root(Path(path))
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
                boxes.append(LinkBox(link.get("name"), size, own or GREY, origin_of(visual)))
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
        parent=_link(element, "parent"),
        child=_link(element, "child"),
        origin=origin_of(element),
        axis=np.array([1.0, 0.0, 0.0] if axis is None else numbers_of(axis, "xyz")),
        source=element.get("name") if mimic is None else mimic.get("joint"),
        multiplier=1.0 if mimic is None else float(mimic.get("multiplier", "1")),
        offset=0.0 if mimic is None else float(mimic.get("offset", "0")),
    )


def _link(joint: ElementTree.Element, end: str) -> str:
    """The link at an end of a joint. Raises KinematicsError where none is named."""
    found = joint.find(end)
    name = None if found is None else found.get("link")
    if not name:
        raise KinematicsError(f"joint {joint.get('name') or '(unnamed)'} names no {end} link")
    return name


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
