# SPDX-License-Identifier: Apache-2.0
"""Managed nodes go through every order of transitions, and nothing works while it is inactive."""

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ptp_interfaces.action import PlanSubgoals, RecordEpisode
from ptp_interfaces.msg import DriverState, ErrorCode, Goal

from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.arm_driver_node import ArmDriverNode
from ptp_nodes.nodes.camera_node import CameraNode
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.learner_node import LearnerNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import DRIVER_STATE, LATCHED

NODES = {
    "arm_driver": ArmDriverNode,
    "camera": CameraNode,
    "encoder": EncoderNode,
    "learner": LearnerNode,
    "planner": PlannerNode,
    "policy": PolicyNode,
    "recorder": RecorderNode,
}
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
UNCONFIGURED, INACTIVE = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
LEADS = {
    (UNCONFIGURED, CONFIGURE): INACTIVE,
    (INACTIVE, ACTIVATE): ACTIVE,
    (INACTIVE, CLEANUP): UNCONFIGURED,
    (ACTIVE, DEACTIVATE): INACTIVE,
}
# Every transition from every state, those that lead somewhere twice.
WALK = (
    *(ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE),
    *(CONFIGURE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE),
    *(CONFIGURE, ACTIVATE, CLEANUP, DEACTIVATE),
    *(ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE),
)
SHUTDOWN = {
    UNCONFIGURED: Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    INACTIVE: Transition.TRANSITION_INACTIVE_SHUTDOWN,
    ACTIVE: Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


class Managed:
    """One node under a life-cycle manager."""

    def __init__(self, graph, name, folder, tmp_path, **values):
        options = {
            "arm_driver": {"preflight": False},
            # One that is not there: the node looks for it every second.
            "camera": {"device": "/dev/video250"},
            "learner": {"checkpoint": str(folder), "folder": str(tmp_path / "learner")},
            "recorder": {"folder": str(tmp_path / "recordings")},
        }.get(name, {"checkpoint": str(folder)})
        self.graph, self.name = graph, name
        self.node = graph.add(
            NODES[name](
                context=graph.context, parameter_overrides=parameters({**options, **values})
            )
        )

    @property
    def state(self):
        answer = self.graph.call(GetState, f"{self.name}/get_state", GetState.Request())
        return answer.current_state.id

    def change(self, what):
        request = ChangeState.Request(transition=Transition(id=what))
        return self.graph.call(ChangeState, f"{self.name}/change_state", request).success


@pytest.mark.parametrize("name", NODES)
def test_every_transition_is_tried_in_every_state(graph, folder, tmp_path, name):
    managed = Managed(graph, name, folder, tmp_path, autostart=False)
    state = UNCONFIGURED
    for what in WALK:
        after = LEADS.get((state, what))
        assert managed.change(what) is (after is not None), (state, what)
        state = after or state
        assert managed.state == state
        assert managed.node.active is (state == ACTIVE)


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("steps", [(), (CONFIGURE,), (CONFIGURE, ACTIVATE)])
def test_it_can_be_shut_down_in_every_state(graph, folder, tmp_path, name, steps):
    managed = Managed(graph, name, folder, tmp_path, autostart=False)
    for what in steps:
        assert managed.change(what)
    assert managed.change(SHUTDOWN[managed.state])
    assert managed.state == State.PRIMARY_STATE_FINALIZED
    assert not managed.node.active


def test_a_planner_that_is_deactivated_ends_its_plan(graph, folder, tmp_path):
    values = {"planner.iterations": 500, "planner.sigmas": [0.1] * 500}
    managed, feedback = Managed(graph, "planner", folder, tmp_path, **values), []
    encoder = load_checkpoint(folder).encoder_id
    codes = np.random.default_rng(2).integers(0, 32, (2, 144))
    start, goal = (latent_message(c, encoder) for c in codes)
    request = PlanSubgoals.Goal(start=start, goal=Goal(latent=goal))
    handle = graph.send_goal(PlanSubgoals, "plan_subgoals", request, feedback)
    graph.wait(lambda: feedback, "the first feedback")
    assert managed.change(DEACTIVATE)
    answer = graph.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == ErrorCode.NOT_ACTIVE
    assert "activate it first" in answer.result.error_msg


def test_a_recorder_that_is_deactivated_ends_its_recording(graph, folder, tmp_path):
    managed, feedback = Managed(graph, "recorder", folder, tmp_path), []
    request = RecordEpisode.Goal(episode_id="a", task="A")
    handle = graph.send_goal(RecordEpisode, "recorder/record", request, feedback)
    graph.wait(lambda: feedback, "the start")
    assert managed.change(DEACTIVATE)
    answer = graph.result(handle)
    assert answer.result.error_code == ErrorCode.NOT_ACTIVE
    assert managed.change(ACTIVATE)
    del feedback[:]
    request.episode_id = "b"
    graph.send_goal(RecordEpisode, "recorder/record", request, feedback)
    graph.wait(lambda: feedback, "the next recording")


def test_an_arm_driver_that_is_deactivated_says_so(graph, folder, tmp_path):
    states = graph.collect(DriverState, DRIVER_STATE, LATCHED)
    managed = Managed(graph, "arm_driver", folder, tmp_path)
    graph.wait(lambda: states, "its state")
    assert managed.change(DEACTIVATE)
    graph.wait(lambda: states[-1].reason == "arm_driver was deactivated: activate it first", "it")
    assert states[-1].state == DriverState.DISCONNECTED


def test_while_the_arm_cannot_move_a_policy_takes_no_step_and_says_why(start_policy):
    _, robot = start_policy(give_up_after=0.3)
    driver = robot.graph.publisher(DriverState, DRIVER_STATE, LATCHED)
    driver.publish(DriverState(state=DriverState.READY))
    handle = robot.send(robot.request(max_steps=5))
    robot.walk(1)
    driver.publish(DriverState(state=DriverState.DISCONNECTED, reason="it was deactivated"))
    robot.graph.wait(lambda: robot.node._arm._state.state == DriverState.DISCONNECTED, "the news")
    robot.show(robot.FIRST + 1)
    result = robot.graph.result(handle).result
    assert result.error_code == ErrorCode.NOT_ACTIVE
    assert "the arm cannot move: it was deactivated" in result.error_msg
    assert result.steps <= 2  # one may have been under way
