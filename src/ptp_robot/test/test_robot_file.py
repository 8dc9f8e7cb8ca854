# SPDX-License-Identifier: Apache-2.0
"""What a robot's file may say, and what no file can."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from ptp_core.config.loading import read_yaml, to_dict
from ptp_core.errors import ConfigError
from ptp_robot.robot_file import (
    HomingConfig,
    Limits,
    RobotConfig,
    digest,
    hard_limits,
    load_robot,
    read_kinematics,
)

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"


@pytest.mark.parametrize("path", sorted(ROBOTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_of_robots_are_read_and_their_home_is_in_their_box(path):
    robot = load_robot(path)
    assert robot.name == path.stem
    arm = read_kinematics(robot)
    assert arm.config.joint_margin == robot.limits.joint_margin


def test_the_sawyers_file_shows_every_limit_and_its_default():
    content = read_yaml(ROBOTS / "sawyer.yaml")
    for section, defaults in (("limits", Limits()), ("homing", HomingConfig())):
        assert content[section] == to_dict(defaults)


@pytest.mark.parametrize("name", ["sawyer", "ros2_control", "fake"])
@pytest.mark.parametrize(
    "limit, value",
    [
        ("speed", 0.3),
        ("step_norm", 0.2),
        ("joint_step", 0.05),
        ("joint_speed_ratio", 1.0),
        ("joint_acceleration", (3.5, 2.5, 5.0, 50.0, 5.0, 5.0, 5.0)),
        ("command_timeout", 2.0),
        ("joints_timeout", 0.5),
        ("force_stop", 200.0),
        ("clearance", 0.0),
        ("joint_margin", 0.0),
        ("speed", float("inf")),
    ],
)
def test_no_file_loosens_a_limit_beyond_what_the_code_allows(name, limit, value):
    with pytest.raises(ConfigError, match=f"{limit} is .*, allowed is .*Change the robot file"):
        RobotConfig(name=name, limits=replace(Limits(), **{limit: value}))


def test_a_real_arm_answers_no_observation_older_than_half_a_second():
    with pytest.raises(ConfigError, match=r"observation_age is 0\.51, allowed is"):
        RobotConfig(name="sawyer", limits=replace(Limits(), observation_age=0.51))
    RobotConfig(name="sawyer", limits=replace(Limits(), observation_age=0.5))
    RobotConfig(name="sim_joint", limits=replace(Limits(), observation_age=1.0))


def test_every_limit_has_bounds_and_the_defaults_keep_them():
    for name in ("sawyer", "sim_joint"):
        assert set(hard_limits(name)) == {field.name for field in fields(Limits)}
        Limits().require_within(hard_limits(name))


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"condition_slow": 40.0}, "condition_slow is 40; it must be at most condition_hold, 30"),
        ({"force_warn": 35.0}, "force_warn is 35"),
        ({"box_lower": (0.5, -0.2)}, "box_lower has 2 numbers"),
        ({"table": 0.0}, "is empty; its lower z is at least table"),
        ({"no_go": ((1.0, 2.0),)}, "each box has 6 numbers"),
    ],
)
def test_limits_that_contradict_each_other_are_named(changes, text):
    with pytest.raises(ConfigError, match=text):
        Limits(**changes)


def test_unknown_keys_wrong_types_and_a_home_out_of_bounds_are_named(tmp_path):
    def refusal(text):
        path = tmp_path / "robot.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as error:
            read_kinematics(load_robot(path))
        return str(error.value)

    assert 'unknown key "limits.sped"; did you mean "limits.speed"?' in refusal(
        "limits: {sped: 0.1}"
    )
    assert '"limits.speed" must be a number' in refusal("limits: {speed: fast}")
    assert '"name" must be one of "fake"' in refusal("name: baxter")
    assert "has 2 numbers for 7 joints" in refusal("homing: {joints: [0.0, 1.0]}")
    assert "joint 3 at 3 rad is outside" in refusal("homing: {joints: [0, 0, 0, 3, 0, 0, 0]}")
    assert "outside the box" in refusal("homing: {joints: [0, -1.18, 0, 2.18, 0, 0.57, 0.17]}")
    assert "urdf: " in refusal(f"urdf: {tmp_path}/none.urdf")


def test_the_table_lifts_the_box_and_changes_the_digest():
    assert Limits(table=-0.3).box[0][2] == pytest.approx(-0.285)
    assert Limits(table=None).box[0][2] == -0.36
    assert digest(Limits()) == digest(Limits())
    assert digest(Limits()) != digest(Limits(speed=0.1))
    assert digest(Limits(), "setpoint") != digest(Limits(), "measured")
