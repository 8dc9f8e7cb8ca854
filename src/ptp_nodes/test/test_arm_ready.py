# SPDX-License-Identifier: Apache-2.0
"""Practice waits for an arm that is enabled, and says what for."""

import threading

import pytest
from ptp_interfaces.msg import DriverState

from ptp_nodes.policy.readiness import ArmReady
from ptp_ros.blocking_client import Caller
from ptp_ros.graph_testing import PATIENCE
from ptp_ros.topics import DRIVER_STATE, LATCHED


@pytest.fixture
def driver(graph):
    return graph.client.create_publisher(DriverState, DRIVER_STATE, LATCHED)


def begin(ready):
    done = threading.Event()
    threading.Thread(target=lambda: (ready.wait(), done.set()), daemon=True).start()
    return done


def test_it_waits_until_the_arm_is_enabled_and_again_after_a_fault(graph, driver):
    logs = graph.logs()
    ready = ArmReady(graph.client, Caller(graph.client), True)
    done = begin(ready)
    logs.expect("waiting for the arm (nothing is heard of its driver)")
    driver.publish(DriverState(state=DriverState.READY))
    assert done.wait(PATIENCE)
    assert begin(ready).wait(PATIENCE)
    driver.publish(DriverState(state=DriverState.FAULT, reason="e-stop"))
    graph.wait(lambda: not ready._ready(), "the fault")
    done = begin(ready)
    logs.expect("waiting for the arm (e-stop): ptp doctor --real, then ptp arm enable")
    driver.publish(DriverState(state=DriverState.INTERVENTION))
    graph.wait(lambda: ready._state == DriverState.INTERVENTION, "a person to have it")
    assert not done.is_set()
    driver.publish(DriverState(state=DriverState.HOLD))
    assert done.wait(PATIENCE)


def test_where_there_is_no_driver_nobody_waits(graph):
    assert begin(ArmReady(graph.client, Caller(graph.client), False)).wait(PATIENCE)
