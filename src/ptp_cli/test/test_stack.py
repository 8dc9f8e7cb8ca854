# SPDX-License-Identifier: Apache-2.0
"""`ptp arm` beside a real arm driver with an arm in memory, and `ptp monitor` without Rerun."""

import importlib.util
import threading

import pytest
from ptp_interfaces.msg import CartesianDelta, DriverState

from ptp_cli.commands import stack
from ptp_cli.main import main
from ptp_nodes.nodes.arm_driver_node import ArmDriverNode
from ptp_nodes.robot.arm_client import REQUESTS, arm_client, is_on_its_way, line, reached
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.topics import COMMANDS, TELEOP_COMMAND

PATIENT = ("--patience", "50")  # s; only a failing test waits this long


@pytest.fixture
def graph(ros_domain):
    with Graph() as graph:
        yield graph


class Running:
    """A driver node stepped by a clock of its own: however busy the machine is, none is late."""

    def __init__(self, graph, **values):
        self.time, self._ended = 50.0, threading.Event()
        self.node = graph.add(
            ArmDriverNode(
                clock=lambda: self.time,
                context=graph.context,
                parameter_overrides=parameters({"preflight": False, **values}),
            )
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._ended.wait(0.002):
            self.time += 0.01
            self.node.cycle()

    def end(self):
        self._ended.set()
        self._thread.join()


@pytest.fixture
def drive(graph):
    """Starts a driver with an arm in memory."""
    running = []

    def drive(**values):
        running.append(Running(graph, **values))
        return running[-1].node

    yield drive
    for one in running:
        one.end()


@pytest.fixture
def ask(capfd):
    """Runs `ptp arm`; exit status and lines."""

    def ask(*words):
        status = main(["arm", *words, *PATIENT])
        return status, capfd.readouterr().out.splitlines()

    return ask


def test_a_person_enables_sends_home_stops_clears_and_disables(drive, ask):
    drive()
    assert ask("state") == (0, ["DISABLED: enable to go on"])
    status, lines = ask("enable")
    assert (status, lines[-1]) == (0, "READY")
    status, lines = ask("reset")
    assert (status, lines[-1]) == (0, "READY")
    status, lines = ask("stop")
    assert (status, lines[-1]) == (
        *(0, "FAULT: stopped by a person: clear the fault, then enable"),
    )
    status, lines = ask("enable")
    assert (status, lines[0][:33]) == (1, "refused: a fault is latched (stop")
    status, lines = ask("clear-fault")
    assert (status, lines[-1]) == (0, "DISABLED: the fault was cleared: enable to go on")
    assert ask("enable")[0] == 0
    status, lines = ask("disable")
    assert (status, lines[-1]) == (0, "DISABLED: disabled: enable to go on")
    status, lines = ask("reset")
    assert (status, lines[0]) == (1, "refused: the arm is DISABLED: disabled: enable to go on")


def test_without_a_preflight_the_refusal_names_it(drive, ask):
    drive(preflight=True)
    status, lines = ask("enable")
    assert status == 1
    assert lines[0] == "refused: no preflight was made: run ptp doctor --real"


def test_policies_get_the_arm_back(graph, drive, ask):
    driver = drive()
    assert ask("enable")[0] == 0
    commands = graph.publisher(CartesianDelta, TELEOP_COMMAND, COMMANDS)
    message = CartesianDelta(source=CartesianDelta.TELEOP, dead_man=True)
    message.header.frame_id = "base"

    def taken_over():
        message.seq += 1
        message.header.stamp = graph.client.get_clock().now().to_msg()
        commands.publish(message)
        return driver._driver.arbiter.taken_over

    graph.wait(taken_over, "a person to take over")
    graph.wait(lambda: ask("rearm")[0] == 0, "the dead-man switch to count as let go")
    assert not driver._driver.arbiter.taken_over


def test_each_change_can_be_watched(drive, ask):
    drive()
    with arm_client() as person:
        changes = person.changes()
        assert line(next(changes)) == "DISABLED: enable to go on"
        assert ask("stop")[0] == 0
        assert line(next(changes)).startswith("FAULT: stopped by a person")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["state", "--patience", "0.2"], "no arm driver is heard for 0.2 s"),
        (["stop", "--patience", "0.2"], "the service arm/stop did not come within 0.2 s"),
        (["enable", "--patience", "0"], "--patience is 0; it must be above 0"),
    ],
)
def test_where_no_driver_runs_one_line_says_so(ros_domain, capsys, words, message):
    assert main(["arm", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptp arm: ") and message in error
    assert error.count("\n") == 1


def test_the_command_offers_what_can_be_asked_for():
    assert tuple(REQUESTS) == stack.ARM_REQUESTS
    assert all(
        f"  {word} " in stack.ARM_EPILOG
        for word in (*stack.ARM_REQUESTS, stack.STATE, stack.WATCH)
    )


def test_states_on_the_way_are_waited_for():
    asked = DriverState(state=DriverState.DISABLED, reason="waits for the robot's motors")
    failed = DriverState(state=DriverState.DISABLED, reason="the motors did not come on")
    homing = DriverState(state=DriverState.RESETTING)
    assert [is_on_its_way(state) for state in (asked, failed, homing)] == [True, False, True]
    assert not reached("enable", failed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "80"], "--port is 80; ports are 1024 to 65535"),
        (["--data-port", "70000"], "--data-port is 70000"),
        (["--rate", "0"], "--rate is 0; it must be between 0.1 and 60"),
    ],
)
def test_wrong_arguments_of_the_monitor_are_one_line(capsys, words, message):
    assert main(["monitor", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptp monitor: ") and message in error
    assert error.count("\n") == 1


if importlib.util.find_spec("rerun") is None:

    def test_without_rerun_one_line_says_how_to_get_it(capsys):
        assert main(["monitor"]) == 2
        error = capsys.readouterr().err
        assert "make monitor" in error and error.count("\n") == 1
