# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in, nothing beyond the limits goes out: the rig's witness looks at it all."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ptp_robot.arm_driver import DriverError
from ptp_robot.backends.fake_backend import FAULTS
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.driver_testing import DriverRig
from ptp_robot.robot_file import HomingConfig, Limits, RobotConfig, read_kinematics
from ptp_robot.safety import JointGate

ARM = read_kinematics(RobotConfig())
PERIOD = 0.01
MOVING = (ArmDriverState.ACTIVE, ArmDriverState.INTERVENTION, ArmDriverState.RESETTING)

# The same examples each time: a suite that fails by chance is no use to those who run it.
FEW = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # to look for a shorter one takes minutes
)
MANY = settings(FEW, max_examples=200)

joints = st.tuples(*[st.floats(0.0, 1.0)] * 7).map(
    lambda parts: ARM.lower + np.array(parts) * (ARM.upper - ARM.lower)
)
numbers = st.one_of(
    st.floats(-0.06, 0.06), st.floats(-0.03, 0.03), st.floats(allow_nan=True, allow_infinity=True)
)
motions = st.fixed_dictionaries({"dx": numbers, "dy": numbers, "dz": numbers, "dyaw": numbers})
commands = st.fixed_dictionaries(
    {
        "source": st.sampled_from([0, 0, 0, 1, 1, 2, 3, 255]),
        "motion": motions,
        "gripper": st.sampled_from([-1.0, 1.0, 0.3, 7.0, math.nan]),
        "age": st.sampled_from([0.0, 0.01, 0.29, 0.31, -0.09, -0.2, math.nan, math.inf]),
        "frame": st.sampled_from(["base"] * 8 + ["", "camera"]),
        "back": st.sampled_from([0] * 8 + [1, 5]),
        "dead_man": st.booleans(),
        "answers": st.sampled_from([0, 0, 1, 3, 10]),
    }
)
within = st.floats(-0.03, 0.03)
drives = st.fixed_dictionaries(
    {
        "source": st.sampled_from([0, 0, 1, 2]),
        "times": st.integers(3, 9),
        "recover": st.booleans(),
        "motion": st.fixed_dictionaries(
            {"dx": within, "dy": within, "dz": within, "dyaw": within}
        ),
    }
)
steps = st.one_of(
    st.tuples(st.just("command"), commands),
    st.tuples(st.just("command"), commands),
    *[st.tuples(st.just("drive"), drives)] * 6,
    st.tuples(st.just("home"), st.integers(10, 120)),
    st.tuples(st.just("run"), st.integers(1, 25)),
    st.tuples(st.just("pause"), st.sampled_from([0.0, 0.001, 0.02, 0.045, 0.07, 1.0, -0.5])),
    st.tuples(st.just("image"), st.just(None)),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
    st.tuples(st.just("mend"), st.just(None)),
    st.tuples(st.just("place"), st.tuples(*[st.floats(-0.15, 0.15)] * 7)),
    st.tuples(st.just("noise"), st.sampled_from([0.0, 0.003, -0.01, 0.3, math.nan])),
    st.tuples(st.just("push"), st.sampled_from([0.0, 10.0, 20.0, 35.0, -35.0, 80.0])),
    st.tuples(
        st.just("ask"),
        st.sampled_from(["go", "go", "go", "home", "stop", "disable", "clear", "rearm"]),
    ),
)


def do(rig, name, value):
    """One step of a sequence."""
    if name == "command":
        rig.count += 1 - 2 * value["back"]
        rig.send(
            value["source"],
            **value["motion"],
            gripper=value["gripper"],
            age=value["age"],
            frame=value["frame"],
            dead_man=value["dead_man"],
            observation_seq=max(0, rig.images - value["answers"]) if value["answers"] else 0,
        )
        rig.run(PERIOD)
    elif name == "drive":
        if value["recover"]:
            recover(rig)
        for _ in range(value["times"]):
            rig.image()
            rig.send(value["source"], **value["motion"])
            rig.run(0.08)
    elif name == "home":
        recover(rig)
        ask(rig, "home")
        rig.run(value * PERIOD)
    elif name == "run":
        rig.run(value * PERIOD)
    elif name == "pause":
        rig.run(abs(value), period=value or 1e-6)
    elif name == "image":
        rig.image()
    elif name == "fault":
        rig.backend.fault(value)
        rig.run(PERIOD)
    elif name == "mend":
        for fault in FAULTS:
            rig.backend.mend(fault)
        rig.run(PERIOD)
    elif name == "place":
        rig.backend.place(rig.backend.joints() + np.array(value))
        rig.run(PERIOD)
    elif name == "noise":
        rig.backend.noise = value
        rig.run(PERIOD)
        rig.backend.noise = 0.0 if abs(value) > 0.1 or math.isnan(value) else value
    elif name == "push":
        rig.backend.push((value, 0.0, value, 0.0, 0.0, 0.0))
    elif name == "ask":
        ask(rig, value)
        rig.run(PERIOD)


def recover(rig):
    """Mend what is broken and enable."""
    for name, value in (("mend", None), ("noise", 0.0), ("push", 0.0)):
        do(rig, name, value)
    ask(rig, "rearm")
    ask(rig, "go")
    rig.run(0.3)


def ask(rig, what):
    """What a person asks for, refused or not; "go": whatever it takes to be enabled."""
    driver, now = rig.driver, rig.time
    calls = {
        "home": [lambda: driver.reset_pose(now)],
        "stop": [driver.stop],
        "disable": [driver.disable],
        "clear": [driver.clear_fault],
        "rearm": [lambda: driver.rearm(now)],
    }
    calls["go"] = [*calls["clear"], lambda: rig.run(PERIOD), lambda: driver.enable(rig.time)]
    for call in calls[what]:
        try:
            call()
        except DriverError:
            continue


@FEW
@given(
    st.lists(steps, min_size=8, max_size=20),
    st.sampled_from(["velocity", "position"]),
    st.sampled_from(["setpoint", "measured"]),
)
def test_no_sequence_makes_the_driver_send_anything_beyond_the_limits(
    sequence, interface, reference
):
    rig = DriverRig(
        interface, reference, wrench=True, no_go=((0.7, 0.05, -0.36, 0.75, 0.1, -0.2),)
    )
    rig.enable()
    rig.run(0.3)
    for name, value in sequence:
        do(rig, name, value)
        if rig.state not in MOVING:
            assert rig.driver._homing is None
            assert not rig.driver._following or rig.driver._retreating is not None


@settings(FEW, max_examples=8)
@given(joints, st.sampled_from(["velocity", "position"]))
@example(np.array((0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 0.1745)), "velocity")
def test_the_way_home_keeps_the_limits_from_wherever_it_begins(start, interface):
    rig = DriverRig(interface, start=tuple(start), homing=HomingConfig(grip_time=0.0)).enable()
    rig.driver.reset_pose(rig.time)
    outside = rig.backend.safety.outside(start)
    for _ in range(80):
        rig.run(PERIOD)
        if rig.state is not ArmDriverState.RESETTING:
            break
        # The arm itself, too: an ideal one lags behind what it is told by a cycle.
        assert rig.backend.safety.outside(rig.backend.joints()) <= outside + 2e-3


inputs = st.sampled_from(["commands", "freeze_joints", "nan_joints", "drop_link", "loop"])


@FEW
@given(inputs, motions, st.sampled_from(["velocity", "position"]), st.integers(1, 40))
def test_an_arm_whose_input_goes_missing_stops_within_the_stated_time(
    missing, motion, interface, before
):
    rig = DriverRig(interface).enable()
    rig.drive(1, dx=0.03, dz=0.01)
    rig.image()
    rig.send(**motion)
    last, accepted = rig.time, rig.driver._commanded
    limits = rig.robot.limits
    if missing not in ("commands", "loop"):
        rig.run(min(before, 20) * PERIOD)
        last = rig.time
        rig.backend.fault(missing)
    if missing == "loop":
        rig.run(0.06, period=0.06)
        assert rig.state is ArmDriverState.FAULT
        assert rig.backend.sent[-1] == (rig.time, "hold")
        return
    due = {
        "commands": accepted + limits.command_timeout,
        "drop_link": last,
    }.get(missing, last + limits.joints_timeout)
    rig.run(0.5)
    due = min(due, accepted + limits.command_timeout) + PERIOD + 1e-9
    moving = max(when for when, what in rig.backend.sent if what == "command")
    assert moving <= due
    if missing != "drop_link":  # a robot without its link stops by itself, see its contract
        held = [when for when, what in rig.backend.sent if what == "hold" and when > moving - 1e-9]
        assert held and held[0] <= due
    still = rig.backend.joints()
    rig.run(0.5)
    np.testing.assert_allclose(rig.backend.joints(), still, atol=1e-9)


@MANY
@given(joints, joints, st.tuples(*[st.floats(-1.0, 1.0)] * 7), st.floats(0.0, 0.05))
def test_the_gate_shortens_any_step_to_the_limits(q, goal, speeds, dt):
    limits = Limits()
    gate = JointGate(ARM, limits)
    dq = np.array(speeds) * gate.top_speed
    reached = gate.step(q, dq, goal, dt)
    step, way = reached - q, goal - q
    assert (np.abs(step) <= np.minimum(limits.joint_step, gate.top_speed * dt) + 1e-12).all()
    assert np.linalg.norm(ARM.forward(reached)[0] - ARM.forward(q)[0]) <= limits.speed * dt + 1e-7
    out, was = (gate.box.violation(ARM.forward(x)[0]) for x in (reached, q))
    assert out <= was + 1e-8
    # On the straight way to the goal, never past it.
    parts = step[np.abs(way) > 1e-6] / way[np.abs(way) > 1e-6]
    assert parts.size == 0 or (np.ptp(parts) < 1e-6 and -1e-9 <= parts.min() <= 1.0 + 1e-9)


@MANY
@given(joints, st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 7))
def test_the_gate_stays_where_it_is_for_numbers_that_are_none(q, goal):
    reached = JointGate(ARM, Limits()).step(q, q * 0, np.array(goal), PERIOD)
    assert np.isfinite(reached).all()


def test_the_witness_itself_sees_what_is_wrong():
    """Each limit is watched: a driver with a looser one than the witness is caught."""
    looser = {
        "speed": 0.2,
        "joint_step": 0.02,
        "joint_speed_ratio": 0.5,
        "joint_acceleration": (12.0,) * 7,
        "box_upper": (0.85, 0.2, 0.0),
        "table": None,
        "no_go": (),
    }
    tight = {
        "speed": 0.05,
        "joint_step": 1e-4,
        "joint_speed_ratio": 0.02,
        "joint_acceleration": (0.1,) * 7,
        "box_upper": (0.85, 0.2, -0.22),
        "table": -0.26,
        "no_go": ((0.66, -0.3, -0.4, 0.7, -0.02, 0.0),),
    }
    for name, limit in tight.items():
        rig = DriverRig(**{name: looser[name]}).enable()
        witness = replace(rig.robot.limits, **{name: limit})
        rig.backend.limits = witness
        rig.backend.safety.gate.box = JointGate(ARM, witness).box
        try:
            rig.drive(5, dz=-0.03)
            rig.drive(10, dz=0.03)
            rig.drive(5, dy=-0.03)
        except AssertionError:
            continue
        raise AssertionError(f"nobody saw that {name} was not kept")
