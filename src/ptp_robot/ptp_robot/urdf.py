# SPDX-License-Identifier: Apache-2.0
"""Reads the constants of a serial chain of revolute joints from a URDF file."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["KinematicsError", "SerialChain", "numbers_of", "origin_of", "read_chain"]


class KinematicsError(ValueError):
    """The URDF cannot serve as the arm asked for; the message says why."""


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


def read_chain(path: Path, base: str, tip: str) -> SerialChain:
    """Read the chain from link `base` to link `tip`, merging its fixed joints.

    Raises KinematicsError when the file is no URDF, a link is missing, or a moving joint is not
    revolute about its local z axis with limits.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise KinematicsError(f"cannot read the URDF {path}: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise KinematicsError(f"{path} is not a whole URDF: {error}") from error
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
