# SPDX-License-Identifier: Apache-2.0
"""Checks of the graph on plain facts: nodes, connections, QoS and diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ptp_core.errors import CheckpointError
from ptp_core.training.manifest import read_contents
from ptp_nodes.tools.doctor.graph_facts import (
    MAY_LACK_A_WRITER,
    NEED_A_READER,
    ROLES,
    Endpoint,
    Expected,
    Finding,
    GraphFacts,
    Machine,
    TopicFacts,
    resolve,
    short,
)

QUIET = ("/rosout", "/parameter_events", "/diagnostics")


def missing_nodes(graph: GraphFacts, machine: Machine, expected: Expected) -> Iterator[Finding]:
    """Findings: nodes of the stack that are not on the graph."""
    there = {short(node) for node in graph.nodes}
    where = f"ROS domain {graph.domain}, discovery range {graph.discovery_range}"
    lost = [node for node in expected.nodes if node not in there]
    if expected.nodes and len(lost) == len(expected.nodes):
        running = sorted({p.domain for p in machine.processes if p.node in lost})
        other = [domain for domain in running if domain != graph.domain]
        cure = f"Start it: ptp up {expected.stack}"
        if other:
            cure = f"Its nodes run in domain {other[0]}: export ROS_DOMAIN_ID={other[0]}"
        yield Finding(
            "missing-node",
            expected.stack,
            f"No node of the stack {expected.stack} is seen ({where})",
            "Nothing runs, or this shell cannot see it",
            cure,
        )
        return
    for node in lost:
        why = ROLES[node].absent if node in ROLES else "The stack is not whole"
        processes = [process for process in machine.processes if process.node == node]
        here = [process for process in processes if process.domain == graph.domain]
        what, cure = (
            f"{node} is not running ({where})",
            f"See why it ended in what the stack printed, then: ptp up {expected.stack}",
        )
        if here:
            what = f"{node} runs as process {here[0].pid} and is not heard ({where})"
            cure = (
                "If it hangs, end that process; else give all nodes the same "
                "ROS_AUTOMATIC_DISCOVERY_RANGE and RMW_IMPLEMENTATION"
            )
        elif processes:
            cure += f". One runs in domain {processes[0].domain}: is it meant to be here?"
        yield Finding("missing-node", node, what, why, cure)


def twins(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: nodes of ours that run twice under one name."""
    for node, count in Counter(graph.nodes).items():
        if count > 1 and short(node) in ROLES:
            yield Finding(
                "twice",
                node,
                f"{node} runs {count} times",
                "Both answer, and nobody knows which of them was heard",
                "Stop one stack, or give each a ROS_DOMAIN_ID or namespace of its own",
            )


def missing_topics(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: topics that a running node of ours should publish and does not."""
    for node in dict.fromkeys(graph.nodes):
        for name in ROLES[short(node)].writes if short(node) in ROLES else ():
            topic = graph.topic(resolve(node, name))
            if topic is None or node not in {writer.node for writer in topic.writers}:
                yield Finding(
                    "missing-topic",
                    resolve(node, name),
                    f"{node} does not write {resolve(node, name)}",
                    "Whoever needs it waits in vain",
                    "Look for a remapping of it in launch file or command line, and for errors in "
                    "the node's log",
                )


def lonely_topics(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: topics without a writer, or without a reader where one is needed."""
    there = {short(node) for node in graph.nodes}
    # Their writers are missing, which is named already, or the stack does without them.
    explained = {name for node in set(ROLES) - there for name in ROLES[node].writes} - {
        name for node in there.intersection(ROLES) for name in ROLES[node].writes
    }
    silent = [t for t in graph.topics if t.writers and not t.readers]
    for topic in graph.topics:
        if topic.name in QUIET:
            continue
        relative = _relative(topic.name)
        if topic.readers and not topic.writers:
            if relative in explained or relative in MAY_LACK_A_WRITER:
                continue
            instead = _instead(topic, silent)
            # What an arm's own nodes would read besides is theirs to know.
            if not (instead or any(short(end.node) in ROLES for end in topic.readers)):
                continue
            yield Finding(
                "no-writer",
                topic.name,
                f"{_names(topic.readers)} read{_s(topic.readers)} {topic.name}, nobody writes it",
                "What depends on it waits",
                instead or "Start what writes it, or correct the topic's name",
            )
        elif topic.writers and not topic.readers and relative in NEED_A_READER:
            yield Finding(
                "no-reader",
                topic.name,
                f"{_names(topic.writers)} write{_s(topic.writers)} {topic.name}, nobody reads it",
                NEED_A_READER[relative],
                "Start what reads it, or correct namespace and remappings",
            )


def qualities(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: writers and readers with incompatible QoS."""
    for topic in graph.topics:
        for pair in topic.mismatches:
            yield Finding(
                "qos",
                topic.name,
                f"{pair.reader} gets nothing from {pair.writer} on {topic.name} ({pair.reason})",
                "The middleware never connects them, and says so only in passing",
                "Give the reader the quality that ptp_ros/topics.py has for the topic (in RViz: "
                "Reliability and Durability of the display)",
            )


def definitions(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: topics whose writers and readers have different message types."""
    for topic in graph.topics:
        ends = [*topic.writers, *topic.readers]
        kinds = {end.type for end in ends}
        if len(kinds) > 1:
            yield Finding(
                "type",
                topic.name,
                f"{topic.name} is used with the types {', '.join(sorted(kinds))}",
                "These ends never exchange a message",
                f"Rename the topic of one of {_names(ends)}",
            )
        elif len({end.type_hash for end in ends}) > 1:
            common = Counter(end.type_hash for end in ends).most_common(1)[0][0]
            odd = [end for end in ends if end.type_hash != common]
            yield Finding(
                "interface-version",
                topic.name,
                f"{_names(odd)} ha{'s' if len(odd) == 1 else 've'} another definition of "
                f"{ends[0].type} than the others on {topic.name}",
                "Fields are read from the wrong bytes",
                "Build the same version of ptp_interfaces everywhere (make setup) and start the "
                "nodes again",
            )


def encoders(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: nodes with different encoders."""
    named = list(graph.encoders)
    for node, values in graph.parameters.items():
        folder = values.get("checkpoint")
        if folder and (identity := _encoder_of(folder)):
            named.append((node, identity))
    known = [(who, identity) for who, identity in named if identity]
    common = Counter(identity for _, identity in known).most_common(1)
    for who, identity in known:
        if identity != common[0][0]:
            yield Finding(
                "encoder",
                who,
                f"{who} is of encoder {identity[:12]}, the others of {common[0][0][:12]}",
                "Codes of two encoders mean different things: the nodes refuse them",
                "Start encoder, planner, policy and learner with the same checkpoint:=",
            )


def states(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: errors that the arm and the nodes report."""
    if graph.taken_over and "policy" in {short(node) for node in graph.nodes}:
        yield Finding(
            "taken-over",
            "arm",
            "A person has, or had, the arm",
            "Policies wait until it is given back",
            "Press the gamepad's re-arm button, or run ptp arm rearm",
        )
    if graph.arm_error:
        yield Finding(
            "arm",
            "arm",
            f"The arm refused the last command: {graph.arm_error}",
            "It holds still",
            "Correct what sends the commands",
        )
    for node, message in graph.errors:
        yield Finding(
            "unhealthy",
            node,
            f"{node} reports an error: {message}",
            "It does not do its part",
            "Do what the message says",
        )


def _encoder_of(folder: str) -> str:
    """Encoder of a checkpoint in a folder of this machine; empty where it cannot be read."""
    try:
        return read_contents(folder).encoder_id
    except CheckpointError:
        return ""


def _relative(name: str) -> str:
    """The name in topics.py that a full name ends with, or the full name."""
    known = {n for role in ROLES.values() for n in role.writes} | {*MAY_LACK_A_WRITER}
    matching = [n for n in known if name == n or name.endswith(f"/{n}")]
    return max(matching, key=len) if matching else name


def _instead(topic: TopicFacts, silent: Iterable[TopicFacts]) -> str:
    """Where the messages may go that the readers of ``topic`` wait for."""
    kinds = {end.type for end in topic.readers}
    for other in silent:
        if {end.type for end in other.writers} == kinds and (
            other.name.rpartition("/")[2] == topic.name.rpartition("/")[2]
        ):
            return (
                f"{_names(other.writers)} write{_s(other.writers)} the same to {other.name}, "
                "which nobody reads: use one namespace, or remap one of them"
            )
    return ""


def _names(ends: Iterable[Endpoint]) -> str:
    return ", ".join(sorted({end.node for end in ends}))


def _s(ends: Iterable[Endpoint]) -> str:
    """Ending of a verb whose subject are these nodes."""
    return "s" if len({end.node for end in ends}) == 1 else ""
