# SPDX-License-Identifier: Apache-2.0
"""launch/real.launch.py: which nodes each robot gets, and where its file is."""

import os
import pty
import sys
from pathlib import Path

import pytest

from ptp_bringup.arguments import robot_file
from ptp_bringup.share_folder import shared_root
from ptp_bringup.stacks import stack_named
from ptp_core.errors import ConfigError

ROBOTS = sorted(path.stem for path in (shared_root() / "config" / "robots").glob("*.yaml"))
ALWAYS = {"arm_driver", "encoder", "planner", "policy", "practice"}


@pytest.fixture
def start():
    """The processes by name, for given arguments."""

    def start(**given):
        return {p.node.name: p for p in stack_named("real").processes(given)}

    return start


def value(process, name):
    return {**process.defaults, **process.explicit}[name]


def test_the_simulated_table_stands_in_for_camera_and_person(start):
    found = start(robot="sim_joint")
    assert found.keys() >= {*ALWAYS, "joint_bridge", "recorder", "view"}
    assert not found.keys() & {"camera", "operator", "learner", "teleop", "sim_bridge"}
    assert value(found["joint_bridge"], "rate") == 10.0


@pytest.mark.parametrize("robot", ["fake", "ros2_control", "sawyer"])
def test_an_arm_has_a_camera_and_a_person(start, robot):
    found = start(robot=robot, camera="2", rate="5")
    assert found.keys() >= {*ALWAYS, "camera", "operator"}
    assert not found.keys() & {"joint_bridge", "camera_transform"}
    assert (value(found["camera"], "device"), value(found["camera"], "rate")) == ("2", 5.0)
    assert value(found["arm_driver"], "robot_file").endswith(f"config/robots/{robot}.yaml")
    assert value(found["arm_driver"], "preflight") is True
    assert "operator" not in start(robot=robot, operator="false")


def test_what_is_recorded_learned_and_shown_can_be_chosen(start):
    found = start(learn="true", viewer="false", task="cup,box", output="out/x")
    assert "learner" in found
    assert "view" not in found
    assert value(found["practice"], "tasks") == ("cup", "box")
    assert value(found["practice"], "use_recorder") is True
    assert value(found["recorder"], "folder") == str(Path("out/x/recordings").absolute())
    assert "recorder" not in start(record="none")
    assert value(start(record="none")["practice"], "use_recorder") is False
    elsewhere = start(record="/data/mine", output="out/x")
    assert value(elsewhere["recorder"], "folder") == "/data/mine"


def test_a_persons_device_comes_with_its_driver(start):
    assert start(teleop="joy").keys() >= {"teleop", "joy"}
    assert start(teleop="spacenav").keys() >= {"teleop", "spacenav"}
    keyboard = start(teleop="keyboard")
    assert "teleop" in keyboard
    assert not {"joy", "spacenav"} & keyboard.keys()


def test_a_person_answers_with_the_device_at_hand(start, monkeypatch):
    leader, follower = pty.openpty()
    path = os.ttyname(follower)
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "__stdin__", terminal)
        for teleop, tty, gamepad in (
            ("none", path, False),
            ("joy", path, True),
            ("keyboard", "", False),  # its keys drive the arm
        ):
            operator = start(robot="sawyer", teleop=teleop)["operator"]
            assert (value(operator, "tty"), value(operator, "gamepad")) == (tty, gamepad)
    os.close(leader)


def test_nothing_that_moves_an_arm_begins_again_by_itself(start):
    for robot in ("sim_joint", "fake"):
        found = start(robot=robot)
        for name in ("arm_driver", "practice", "joint_bridge"):
            if name in found:
                assert (found[name].node.respawn, found[name].node.essential) == (False, True)


def test_nothing_runs_on_simulated_time(start):
    for process in start().values():
        assert "use_sim_time" not in {**process.defaults, **process.explicit}


def test_a_robot_is_found_by_name_or_by_path(start, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("name: fake\n")
    assert value(start(robot=str(own))["arm_driver"], "robot_file") == str(own)
    with pytest.raises(ConfigError, match=r'robot is "baxter"; give one of .*, or a YAML file'):
        start(robot="baxter")
    assert "fake" in ROBOTS
    assert all(Path(robot_file(name)).is_file() for name in ROBOTS)
