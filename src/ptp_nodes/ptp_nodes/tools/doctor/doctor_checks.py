# SPDX-License-Identifier: Apache-2.0
"""Checks of the doctor on plain facts: nodes, connections, message flow and the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ptp_core.errors import CheckpointError
from ptp_core.training.manifest import read_contents
from ptp_nodes.tools.doctor.doctor_facts import (
    CHAIN,
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
from ptp_ros import topics

QUIET = ("/rosout", "/parameter_events", "/diagnostics")
SLOW = 0.7  # share of the requested rate below which a stream is slow
FEW = 5  # messages needed to measure a rate
FROZEN = 5  # equal images in a row
MOTION = 0.002  # m: after this motion of the arm the image must differ
APART = 0.5  # s between clocks or of delay, beyond which observations count as stale
LEAST_FREE = 2 * 2**30  # bytes: some hundred episodes
LEAST_WAITING = 0.25  # share of time waiting for a core, above which it is a finding


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


def observations(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: observations that stopped or come too slowly."""
    wanted = {
        resolve(node, topics.OBSERVATION): values["rate"]
        for node, values in graph.parameters.items()
        if "rate" in values and values.get("mode") != "lock_step"
    }
    for stream in graph.streams:
        if stream.name.rpartition("/")[2] != topics.OBSERVATION or stream.newest_age is None:
            continue  # no scene or no image yet: the node itself reports that
        rate = wanted.get(stream.name)
        if rate is None:
            if stream.count == 0 and graph.acting and not graph.taken_over:
                yield Finding(
                    "stale",
                    stream.name,
                    f"{stream.name} stands still in the middle of an episode",
                    "In lock-step the table waits for a command that does not come",
                    "Read the logs of encoder and policy",
                )
        elif stream.count == 0:
            yield Finding(
                "stale",
                stream.name,
                f"{stream.name} stands still: the newest is {stream.newest_age:.1f} s old",
                "The policy sees nothing new and holds the arm",
                "Look at the camera's cable and at the log of what writes it",
            )
        elif stream.rate < SLOW * rate and stream.seconds * rate >= FEW:
            yield Finding(
                "slow",
                stream.name,
                f"{stream.name} comes at {stream.rate:.1f} Hz instead of {rate:g} Hz",
                "The policy acts on old images",
                "Free the cores, or lower rate:=",
            )


def answers(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: nodes that do not keep up with their input."""
    for source, product, node in CHAIN:
        if product == topics.STEP and (graph.taken_over or not graph.acting):
            continue  # nobody asks the policy
        for full in {name for name in graph.nodes if short(name) == node}:
            given = graph.stream(resolve(full, source))
            made = graph.stream(resolve(full, product))
            if given is None or given.count < FEW:
                continue
            # Rates, not counts: the two may have been heard for different times.
            rate = 0.0 if made is None else made.rate
            if rate < SLOW * given.rate:
                yield Finding(
                    "slow" if rate else "stale",
                    resolve(full, product),
                    f"{full} makes {rate:.1f} messages a second of {given.rate:.1f} on "
                    f"{given.name}",
                    "Images are skipped" if rate else "Nothing comes of the images",
                    f"Free the cores for {node}, or lower rate:="
                    if rate
                    else f"Read the log of {node}",
                )


def images(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: cameras that repeat the same image."""
    simulated = {
        resolve(node, name)
        for node in {*graph.nodes, *graph.parameters}
        if short(node) in ("sim_bridge", "joint_bridge")
        for name in (topics.OBSERVATION, topics.IMAGE_RAW)
    }
    for stream in graph.streams:
        if stream.same < FROZEN:
            continue
        # A simulated image has no noise: it may repeat while nothing moves.
        still = stream.name in simulated and (
            graph.travelled < MOTION or stream.same < stream.images
        )
        if not still:
            yield Finding(
                "frozen",
                stream.name,
                f"{stream.name} showed the same image {stream.same} times in a row",
                "A live camera never does: the policy would act on what was",
                "Unplug and plug the camera, and start its node again",
            )


def clocks(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: clocks of two machines that differ, and stamps that are too old."""
    lively = [stream for stream in graph.streams if stream.count >= FEW]
    apart = [s for s in lively if s.transfer is not None and abs(s.transfer) > APART]
    if apart:
        worst = max(apart, key=lambda stream: abs(stream.transfer))
        way = "behind" if worst.transfer > 0 else "ahead of"
        yield Finding(
            "clock",
            worst.name,
            f"The clock behind {', '.join(s.name for s in apart)} is {abs(worst.transfer):.1f} s "
            f"{way} this one",
            "Stamps of two machines cannot be compared: fresh images count as stale",
            "Synchronise the clocks (chrony), then start the nodes again",
        )
    for stream in lively:
        if stream in apart or stream.stamp_age is None or abs(stream.stamp_age) <= APART:
            continue
        word = "old" if stream.stamp_age > 0 else "in the future"
        yield Finding(
            "stamp",
            stream.name,
            f"Stamps on {stream.name} are {abs(stream.stamp_age):.1f} s {word} on arrival",
            "The policy holds still on observations that are too old",
            "Stamp messages with ROS time when they are made, and look for a queue before the "
            "writer",
        )


def threads(machine: Machine) -> Iterator[Finding]:
    """Findings: more busy threads than cores."""
    ours = [process for process in machine.processes if process.busy_threads]
    if not ours:
        return
    busy = sum(process.busy_threads for process in ours)
    used = sum(process.cores for process in ours)
    waiting = sum(p.waiting * p.cores for p in ours) / used if used else 0.0
    if waiting < LEAST_WAITING:
        return
    listed = ", ".join(
        f"{p.node} {p.busy_threads}"
        for p in sorted(ours, key=lambda p: p.busy_threads, reverse=True)
    )
    if busy > machine.cores and any(process.busy_threads > 1 for process in ours):
        yield Finding(
            "threads",
            "cpu",
            f"The nodes have {busy} busy threads on {machine.cores} cores ({listed}) and wait "
            f"{waiting:.0%} of their time for a core",
            "Pools that compete are many times slower than one thread each",
            "Start the nodes with OMP_NUM_THREADS=1, as ptp up does, and lower threads:= of "
            "planner and learner",
        )
    else:
        yield Finding(
            "load",
            "cpu",
            f"The nodes wait {waiting:.0%} of their time for a core: {busy} of their threads are "
            f"busy ({listed}), other programs use {machine.others:.1f} of {machine.cores} cores",
            "Images come late and are skipped",
            "End what else runs, or run it with nice; else lower rate:=",
        )


def domains(graph: GraphFacts, machine: Machine) -> Iterator[Finding]:
    """Findings: nodes of this domain with different discovery ranges."""
    ranges: dict[str, list[str]] = {}
    for process in machine.processes:
        if process.domain == graph.domain:
            ranges.setdefault(process.discovery_range, []).append(process.node)
    if len(ranges) > 1:
        text = "; ".join(f"{kind}: {', '.join(sorted(set(n)))}" for kind, n in ranges.items())
        yield Finding(
            "discovery",
            "ROS_AUTOMATIC_DISCOVERY_RANGE",
            f"Nodes of domain {graph.domain} have different discovery ranges ({text})",
            "Some are seen from other machines and some are not",
            "Set one ROS_AUTOMATIC_DISCOVERY_RANGE for all",
        )


def versions(machine: Machine) -> Iterator[Finding]:
    """Findings: libraries of other versions than in the lock."""
    for name, allowed in machine.locked.items():
        found = machine.installed.get(name)
        if found is not None and found.partition("+")[0] not in allowed:
            yield Finding(
                "version",
                name,
                f"{name} is {found}, the lock has {' or '.join(allowed)}",
                "Nothing here was tested with it",
                "Run make setup",
            )


def disks(graph: GraphFacts, machine: Machine) -> Iterator[Finding]:
    """Findings about the recorder: disk, losses, faults."""
    recorder = graph.recorder
    if recorder is None:
        return
    if recorder.fault:
        yield Finding(
            "recorder",
            "recorder",
            f"The recorder cannot record: {recorder.fault}",
            "Nothing is kept and nothing is learned",
            "Do what the message says; it goes on by itself where it can",
        )
    if recorder.dropped:
        yield Finding(
            "recorder",
            "recorder",
            f"The recorder lost {recorder.dropped} messages",
            "The disk is slower than the stream; those steps are not learned from",
            "Record to a faster disk, or less often images for people (image_every)",
        )
    free = machine.free.get(recorder.folder, recorder.bytes_free)
    if free < LEAST_FREE:
        yield Finding(
            "disk",
            recorder.folder,
            f"{free / 2**30:.1f} GiB are free on the disk of {recorder.folder}",
            "When it is full, practice stops",
            "Delete or move old sessions (ptp episodes drop), or record elsewhere",
        )


def shared_memory(machine: Machine) -> Iterator[Finding]:
    """Findings: shared memory of processes that died."""
    count = len(machine.shared_memory)
    if count:
        yield Finding(
            "shared-memory",
            "/dev/shm",
            f"{count} files of Fast DDS in /dev/shm ({machine.shared_bytes / 2**20:.0f} MiB) "
            "belong to no process",
            "Nodes that were killed left them; they fill the memory",
            "While no ROS node runs: rm -f /dev/shm/fastrtps_* /dev/shm/sem.fastrtps_*",
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
