# SPDX-License-Identifier: Apache-2.0
"""What the doctor makes of facts: each fault gives its finding, and health gives none."""

import dataclasses

import pytest

from ptp_core.tiny_networks import tiny_checkpoint
from ptp_nodes.tools.doctor.doctor_facts import (
    Endpoint,
    Expected,
    GraphFacts,
    Machine,
    Mismatch,
    ProcessFacts,
    Recorder,
    Stream,
    TopicFacts,
)
from ptp_nodes.tools.doctor.examination import findings, guess

GIB = 2**30
SIM = Expected("sim", ("sim_bridge", "encoder", "policy"))
OBSERVATION = "ptp_interfaces/msg/Observation"
WRITES = {
    "/sim_bridge": ("/observation", "/image_raw", "/arm/state", "/joint_states"),
    "/encoder": ("/latent",),
    "/policy": ("/arm/command/policy", "/step"),
}
READERS = {"/observation": "/encoder", "/latent": "/policy", "/arm/command/policy": "/sim_bridge"}


def end(node, kind="a/msg/B", type_hash="RIHS01_1"):
    return Endpoint(node, kind, type_hash)


def topic(name, writer="", reader="", **changes):
    writers = (end(writer),) if writer else ()
    readers = (end(reader),) if reader else ()
    return TopicFacts(**{"name": name, "writers": writers, "readers": readers, **changes})


def stream(name, count=50, **changes):
    fields = {"name": name, "type": "t", "seconds": 5.0, "count": count}
    fields |= {"newest_age": 0.1, "transfer": 0.001, "stamp_age": 0.01}
    return Stream(**{**fields, **changes})


def graph(**changes):
    """A healthy stack; ``changes`` of its fields."""
    fields = {
        "domain": 4,
        "discovery_range": "LOCALHOST",
        "seconds": 5.0,
        "nodes": ("/encoder", "/policy", "/sim_bridge"),
        "topics": tuple(topic(n, w, READERS.get(n, "")) for w in WRITES for n in WRITES[w]),
        "streams": (stream("/observation"), stream("/latent"), stream("/step")),
        "parameters": {"/sim_bridge": {"mode": "real_time", "rate": 10.0}},
        "acting": True,
    }
    return GraphFacts(**{**fields, **changes})


def process(node="policy", **changes):
    fields = {"pid": 7, "domain": 4, "discovery_range": "LOCALHOST"}
    fields |= {"busy_threads": 1, "cores": 0.3, "waiting": 0.0}
    return ProcessFacts(**{"node": node, **fields, **changes})


def replaced(new):
    """The healthy topics with one of them replaced, or one more."""
    return (*(t for t in graph().topics if t.name != new.name), new)


def found(graph_=None, machine=None, expected=SIM):
    return findings(graph_ or graph(), machine or Machine(cores=2), expected)


def the_one(graph_=None, machine=None, expected=SIM):
    (finding,) = found(graph_, machine, expected)
    return finding


def test_a_healthy_stack_has_no_findings():
    healthy = Machine(
        cores=2,
        processes=(process(), process("encoder", waiting=0.1)),
        installed={"numpy": "2.4.6", "torch": "2.13.0+cpu"},
        locked={"numpy": ("2.2.6", "2.4.6"), "torch": ("2.13.0",), "rclpy": ("7.1.6",)},
    )
    assert found(machine=healthy) == ()


def test_a_missing_node_is_named_with_what_does_not_happen_and_explains_its_topics():
    topics = tuple(
        dataclasses.replace(t, writers=()) if t.writers[0].node == "/encoder" else t
        for t in graph().topics
    )
    nodes = ("/policy", "/sim_bridge")
    lost = [f for f in found(graph(nodes=nodes, topics=topics)) if f.check != "no-reader"]
    assert [(f.check, f.subject) for f in lost] == [("missing-node", "encoder")]
    assert "the policy is blind" in lost[0].line() and "ptp up sim" in lost[0].cure


def test_a_node_that_runs_unseen_is_told_from_one_that_died():
    stray, hung = process("encoder", domain=9), process("encoder", pid=31)
    unseen = graph(nodes=("/policy", "/sim_bridge"))
    assert "One runs in domain 9" in found(unseen, Machine(cores=2, processes=(stray,)))[0].cure
    both = found(unseen, Machine(cores=2, processes=(stray, hung)))[0]
    assert "encoder runs as process 31 and is not heard" in both.what
    assert "If it hangs, end that process" in both.cure


def test_nothing_at_all_is_one_finding_that_looks_in_other_domains():
    nothing = GraphFacts(domain=4, discovery_range="LOCALHOST", seconds=5.0)
    assert the_one(nothing).what.startswith("No node of the stack sim is seen (ROS domain 4")
    elsewhere = Machine(cores=2, processes=(process(domain=12),))
    assert "export ROS_DOMAIN_ID=12" in the_one(nothing, elsewhere).cure


def test_the_stack_that_is_meant_is_the_one_that_fits():
    camera = Expected("camera", ("camera", "encoder"))
    practice = Expected("practice", (*SIM.nodes, "recorder", "learner"))
    stacks = [camera, SIM, practice]
    assert guess(graph(), stacks) == SIM
    assert guess(graph(nodes=("/encoder", "/camera")), stacks) == camera
    assert guess(graph(nodes=(*graph().nodes, "/recorder", "/learner")), stacks) == practice
    assert guess(graph(nodes=()), [SIM, camera]) == SIM


FAULTS = {
    "twice": ({"nodes": (*graph().nodes, "/policy")}, ("twice", "/policy", "runs 2 times")),
    "a topic that is not written": (
        {"topics": tuple(t for t in graph().topics if t.name != "/step")},
        ("missing-topic", "/step", "/policy does not write /step"),
    ),
    "a reader without a writer": (
        {"topics": replaced(topic("/joy", reader="/teleop"))},
        ("no-writer", "/joy", "/teleop reads /joy, nobody writes it"),
    ),
    "a command that nobody reads": (
        {"topics": replaced(topic("/arm/command/policy", "/policy"))},
        ("no-reader", "/arm/command/policy", "No arm obeys"),
    ),
    "a name in two namespaces": (
        {"topics": (*replaced(topic("/a/goal", "/x")), topic("/b/goal", reader="/y"))},
        ("no-writer", "/b/goal", "/x writes the same to /a/goal, which nobody reads"),
    ),
    "qualities": (
        {
            "topics": replaced(
                topic(
                    "/latent",
                    "/encoder",
                    "/policy",
                    mismatches=(Mismatch("/encoder", "/rviz", "Best effort"),),
                )
            )
        },
        ("qos", "/latent", "/rviz gets nothing from /encoder on /latent (Best effort)"),
    ),
    "types": (
        {"topics": replaced(topic("/x", writers=(end("/a", "p/msg/P"), end("/b"))))},
        ("type", "/x", "a/msg/B, p/msg/P"),
    ),
    "versions of an interface": (
        {
            "topics": replaced(
                topic("/x", writers=(end("/a"), end("/b")), readers=(end("/c", type_hash="2"),))
            )
        },
        ("interface-version", "/x", "/c has another definition of a/msg/B"),
    ),
    "encoders": (
        {"encoders": (("/latent", "e1"), ("/plan", "e2"), ("/step", "e1"))},
        ("encoder", "/plan", "/plan is of encoder e2, the others of e1"),
    ),
    "a person": ({"taken_over": True}, ("taken-over", "arm", "run ptp arm rearm")),
    "the arm": (
        {"arm_error": "dx is not finite"},
        ("arm", "arm", "refused the last command: dx is not finite"),
    ),
    "a node that says so": (
        {"errors": (("/planner", "no checkpoint given"),)},
        ("unhealthy", "/planner", "no checkpoint given"),
    ),
    "a clock behind": (
        {"streams": (stream("/a", transfer=2.0), stream("/b", transfer=1.0))},
        ("clock", "/a", "The clock behind /a, /b is 2.0 s behind this one"),
    ),
    "a clock ahead": (
        {"streams": (stream("/a", transfer=-2.0), stream("/b", transfer=-1.0))},
        ("clock", "/a", "The clock behind /a, /b is 2.0 s ahead of this one"),
    ),
    "old stamps": (
        {"streams": (stream("/arm/state", stamp_age=1.5),)},
        ("stamp", "/arm/state", "1.5 s old on arrival"),
    ),
    "stamps to come": (
        {"streams": (stream("/arm/state", stamp_age=-1.5),)},
        ("stamp", "/arm/state", "1.5 s in the future"),
    ),
    "nothing new": (
        {"streams": (stream("/observation", 0, newest_age=7.5),)},
        ("stale", "/observation", "stands still: the newest is 7.5 s old"),
    ),
    "slow": (
        {"streams": (stream("/observation", 20), stream("/latent", 20), stream("/step", 20))},
        ("slow", "/observation", "4.0 Hz instead of 10 Hz"),
    ),
    "an encoder that does not keep up": (
        {"streams": (stream("/observation"), stream("/latent", 30), stream("/step", 30))},
        ("slow", "/latent", "/encoder makes 6.0 messages a second of 10.0 on /observation"),
    ),
    "a policy that is dumb": (
        {"streams": (stream("/observation"), stream("/latent"))},
        ("stale", "/step", "/policy makes 0.0 messages a second of 10.0"),
    ),
    "lock-step that hangs": (
        {
            "streams": (stream("/observation", 0, newest_age=3.0),),
            "parameters": {"/sim_bridge": {"mode": "lock_step", "rate": 10.0}},
        },
        ("stale", "/observation", "in the middle of an episode"),
    ),
    "a frozen simulator": (
        {
            "streams": (stream("/observation", same=50, images=50), stream("/latent")),
            "travelled": 0.2,
            "acting": False,
        },
        ("frozen", "/observation", "the same image 50 times"),
    ),
    "a frozen camera": (
        {"streams": (stream("/camera2/image_raw", same=6, images=50),)},
        ("frozen", "/camera2/image_raw", "the same image 6 times"),
    ),
    "a recorder that cannot": (
        {"recorder": Recorder("/r", "no space left", 0, 9 * GIB)},
        ("recorder", "recorder", "cannot record: no space left"),
    ),
    "a recorder that loses": (
        {"recorder": Recorder("/r", "", 12, 9 * GIB)},
        ("recorder", "recorder", "lost 12 messages"),
    ),
    "a disk that fills": (
        {"recorder": Recorder("/r", "", 0, GIB // 2)},
        ("disk", "/r", "0.5 GiB are free"),
    ),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_graph_gives_its_finding_and_no_other(changes, expected):
    check, subject, text = expected
    finding = the_one(graph(**changes))
    assert (finding.check, finding.subject) == (check, subject)
    assert text in finding.line()
    assert "\n" not in finding.line()


HEALTHY = {
    "a simulated image of an arm that stands still": {
        "streams": (stream("/observation", same=50, images=50), stream("/latent")),
        "acting": False,
    },
    "a policy that nobody asks": {
        "streams": (stream("/observation"), stream("/latent")),
        "acting": False,
    },
    "lock-step that waits for a plan": {
        "streams": (stream("/observation", 0, newest_age=9.0),),
        "parameters": {"/sim_bridge": {"mode": "lock_step", "rate": 10.0}},
        "acting": False,
    },
    "a stream that was found late": {
        "streams": (stream("/observation"), stream("/latent", 20, seconds=2.0), stream("/step"))
    },
    "one message that was held up": {"streams": (stream("/arm/state", 1, transfer=1.4),)},
    "no learner": {"topics": replaced(topic("/policy_update", reader="/policy"))},
    "nodes of an arm": {"topics": replaced(topic("/gripper/commands", reader="/controllers"))},
    "one encoder": {"encoders": (("/latent", "e1"), ("/plan", "e1"), ("/policy_update", ""))},
    "no policy": {
        "nodes": ("/encoder", "/sim_bridge"),
        "topics": (*graph().topics[:5], topic("/step", reader="/view")),
        "taken_over": True,
    },
    "room on the disk": {"recorder": Recorder("/r", "", 0, 9 * GIB)},
}


@pytest.mark.parametrize("changes", HEALTHY.values(), ids=HEALTHY)
def test_what_only_looks_like_a_fault_is_none(changes):
    nodes = changes.get("nodes", graph().nodes)
    assert found(graph(**changes), expected=Expected("s", tuple(n[1:] for n in nodes))) == ()


def test_checkpoints_of_different_encoders_are_seen_before_anything_is_sent(tmp_path):
    parameters = {}
    for node, seed in (("/encoder", 1), ("/planner", 1), ("/policy", 2)):
        folder = tmp_path / node[1:]
        tiny_checkpoint(folder, seed)
        parameters[node] = {"checkpoint": str(folder)}
    parameters["/other"] = {"checkpoint": str(tmp_path / "gone")}
    finding = the_one(graph(parameters=parameters))
    assert (finding.check, finding.subject) == ("encoder", "/policy")


BUSY = (
    process("learner", busy_threads=4, cores=1.2, waiting=0.6),
    process("planner", busy_threads=2, cores=0.8, waiting=0.4),
)
MACHINES = {
    "too many threads": (
        Machine(cores=2, processes=BUSY),
        ("threads", "6 busy threads on 2 cores (learner 4, planner 2) and wait 52%"),
    ),
    "other programs": (
        Machine(cores=2, processes=(process(waiting=0.5),), others=1.6),
        (
            "load",
            "wait 50% of their time for a core: 1 of their threads are busy (policy 1)",
        ),
    ),
    "discovery ranges": (
        Machine(cores=2, processes=(process(), process("view", discovery_range="SUBNET"))),
        ("discovery", "LOCALHOST: policy; SUBNET: view"),
    ),
    "a library": (
        Machine(cores=2, installed={"numpy": "1.26.4"}, locked={"numpy": ("2.2.6", "2.4.6")}),
        ("version", "numpy is 1.26.4, the lock has 2.2.6 or 2.4.6"),
    ),
    "shared memory": (
        Machine(cores=2, shared_memory=("fastrtps_1", "fastrtps_1_el"), shared_bytes=2**20),
        ("shared-memory", "2 files of Fast DDS in /dev/shm (1 MiB)"),
    ),
}


@pytest.mark.parametrize(("machine", "expected"), MACHINES.values(), ids=MACHINES)
def test_a_fault_of_the_machine_gives_its_finding_and_no_other(machine, expected):
    finding = the_one(machine=machine)
    assert finding.check == expected[0]
    assert expected[1] in finding.line()


def test_busy_threads_that_need_not_wait_are_no_fault():
    calm = tuple(dataclasses.replace(one, waiting=0.05) for one in BUSY)
    assert found(machine=Machine(cores=8, processes=calm)) == ()
