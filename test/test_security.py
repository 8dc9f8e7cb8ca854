# SPDX-License-Identifier: Apache-2.0
"""The policies in config/sros2 against the running graph, and who may move the arm."""

import re
import shutil
from pathlib import Path

import pytest

from ptp_bringup.bring_up import middleware_variables
from ptp_bringup.share_folder import shared_root
from ptp_bringup.stacks import all_stacks
from ptp_cli.main import main
from ptp_nodes.nodes.camera_node import CameraNode
from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_nodes.tools.security.sros2_policies import Rules, enclave, forbidden, policies_in, uses
from ptp_ros.graph_testing import Graph, parameters
from ptp_sim.scripted_gamepad_node import ScriptedGamepadNode

STACKS = all_stacks()
ROOT = Path(__file__).resolve().parents[1]
FOLDER = shared_root() / "config" / "sros2" / "policies"
POLICIES = policies_in(FOLDER)
# Nodes of other projects: no process of ours can be asked what they do where they are missing.
OF_OTHERS = {node.name for stack in STACKS.values() for node in stack.nodes} - {
    node.name
    for stack in STACKS.values()
    for node in stack.nodes
    if node.package.startswith("ptp_")
}
TOOLS = "tools"  # ptp doctor, ptp monitor: they look and touch nothing
PERSON = "person"  # ptp arm, ptp doctor --real: they enable and stop

pytestmark = pytest.mark.timeout(200)  # one of them starts a whole stack


def ours():
    """Names of the executables that our packages install."""
    setups = [path.read_text() for path in (ROOT / "src").glob("*/setup.py")]
    names = {name for text in setups for name in re.findall(r'"(\w+) ?= ?[\w.]+:main"', text)}
    return names - {"ptp", "fake_controllers"}  # a fake needs no place on a secured graph


def test_every_node_has_a_policy_and_every_policy_a_node():
    """A new node: start a stack that has it, and `ptp security write`."""
    assert set(POLICIES) == ours() | OF_OTHERS | {TOOLS, PERSON}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_every_process_is_started_in_the_enclave_of_its_policy(stack, tmp_path):
    for process in stack.processes({}):
        line = process.command_line()
        assert line[line.index("--enclave") + 1] == enclave(process.node.name) == process.enclave
        assert process.node.name in POLICIES


@pytest.mark.process
def test_a_practising_stack_does_nothing_that_is_not_allowed(up, checkpoint, tmp_path, capsys):
    quick = tmp_path / "quick.yaml"
    quick.write_text("learner: {ros__parameters: {publish_every: 5}}\n")
    stack = up(
        *("practice", "task:=A", "episodes:=1000", "max_steps:=20", "learn_from:=all"),
        *(f"checkpoint:={checkpoint}", f"output:={tmp_path / 'out'}", "record_images:=false"),
        *("utd_ratio:=1.0", f"params_file:={quick}", "teleop:=true", "view:=true"),
    )
    stack.expect("recorded as number 0", 120.0)
    check = ["security", "check", "--seconds", "10"]  # until discovery has found every node
    assert main(check) == 0, capsys.readouterr().out
    seen = capsys.readouterr().out
    assert int(re.search(r"(\d+) nodes, 0 findings", seen)[1]) >= len(STACKS["practice"].names())
    # And it would have said so.
    narrow = tmp_path / "policies"
    shutil.copytree(FOLDER, narrow)
    policy = narrow / "policy.xml"
    assert "<topic>arm/command/policy</topic>" in policy.read_text()
    policy.write_text(policy.read_text().replace("<topic>arm/command/policy</topic>\n", ""))
    (narrow / "view.xml").unlink()
    assert main([*check, "--folder", str(narrow)]) == 1
    seen = capsys.readouterr().out
    assert "policy: publish /arm/command/policy\n" in seen and "view: has no policy\n" in seen
    # What is written from the graph alone allows all of it, and no more than the files here.
    fresh = tmp_path / "fresh"
    assert main(["security", "write", "--seconds", "10", "--folder", str(fresh)]) == 0
    assert main([*check, "--folder", str(fresh)]) == 0
    assert forbidden(POLICIES, policies_in(fresh)) == []


@pytest.mark.parametrize("source", ["joy", "spacenav", "twist"])
def test_teleoperation_does_nothing_that_is_not_allowed(source):
    with Graph() as graph:
        values = {"source": source, "set_up": True}
        graph.add(TeleopNode(context=graph.context, parameter_overrides=parameters(values)))
        expect_allowed(graph, "teleop", "/arm/command/teleop")


def test_camera_and_scripted_gamepad_do_nothing_that_is_not_allowed():
    with Graph() as graph:
        graph.add(CameraNode(context=graph.context))
        graph.add(ScriptedGamepadNode(context=graph.context))
        expect_allowed(graph, "camera", "/observation")
        expect_allowed(graph, "scripted_gamepad", "/joy")


def expect_allowed(graph, name, published):
    def use():
        return uses(graph.client, [name])

    graph.wait(lambda: published in use().get(name, POLICIES[TOOLS]).publish, f"{name} to appear")
    assert forbidden(POLICIES, use()) == []


def test_few_may_move_the_arm_or_change_the_policy():
    def may(kind, name):
        use = {kind: frozenset({name})}
        return {node for node, rules in POLICIES.items() if not rules.forbidden(Rules(**use))}

    assert may("publish", "/arm/command/policy") == {"policy"}
    assert may("publish", "/arm/command/teleop") == {"teleop"}
    assert may("publish", "/arm/command/script") == set()  # whoever needs one writes its policy
    assert may("subscribe", "/arm/command/teleop") >= {"arm_driver", "sim_bridge"}
    assert may("publish", "/policy_update") == {"learner"}
    assert may("request", "/arm/rearm") == {"teleop", PERSON}
    assert may("request", "/arm/enable") == may("publish", "/arm/preflight") == {PERSON}
    assert may("publish", "/observation") <= {"camera", "sim_bridge", "joint_bridge"}
    assert TOOLS in may("subscribe", "/arm/state")


def test_programs_that_look_hear_everything_and_publish_nothing_but_their_log():
    allowed = POLICIES[TOOLS]
    topics = {topic for rules in POLICIES.values() for topic in rules.publish | rules.subscribe}
    of_ros = ("/rosout", "/parameter_events", "/transition_event")
    ours = {topic for topic in topics if "*" not in topic and not topic.endswith(of_ros)}
    assert "/arm/command/policy" in ours
    for topic in ours:
        assert allowed.forbidden(Rules(publish=frozenset({topic})))
        assert not allowed.forbidden(Rules(subscribe=frozenset({topic})))


def test_discovery_stays_on_this_machine_wherever_nodes_are_started():
    assert middleware_variables()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    environment = (ROOT / "tools" / "workspace.py").read_text()
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST" in environment
    for path in ("docker/compose.yaml", "docker/Dockerfile", ".devcontainer/devcontainer.json"):
        assert "SUBNET" not in (ROOT / path).read_text()


def test_where_nothing_runs_the_command_says_so(capsys):
    assert main(["security", "check", "--seconds", "0"]) == 1
    assert "no nodes run on this ROS domain" in capsys.readouterr().out
    assert main(["security", "check", "--seconds", "0", "--nodes", "ghost"]) == 2
    assert "no node ghost runs" in capsys.readouterr().err
    assert main(["security", "check", "--seconds", "-1"]) == 2
