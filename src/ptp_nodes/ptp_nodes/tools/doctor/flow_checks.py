# SPDX-License-Identifier: Apache-2.0
"""Checks of message flow and of the machine, on plain facts."""

from __future__ import annotations

from collections.abc import Iterator

from ptp_nodes.tools.doctor.graph_facts import CHAIN, Finding, GraphFacts, Machine, resolve, short
from ptp_ros import topics

SLOW = 0.7  # share of the requested rate below which a stream is slow
FEW = 5  # messages needed to measure a rate
FROZEN = 5  # equal images in a row
MOTION = 0.002  # m: after this motion of the arm the image must differ
APART = 0.5  # s between clocks or of delay, beyond which observations count as stale
LEAST_FREE = 2 * 2**30  # bytes: some hundred episodes
LEAST_WAITING = 0.25  # share of time waiting for a core, above which it is a finding


def observations(graph: GraphFacts) -> Iterator[Finding]:
    """Findings: observations that stopped or come too slowly."""
    wanted = {
        resolve(node, topics.OBSERVATION): values["rate"]
        for node, values in graph.parameters.items()
        if "rate" in values and values.get("mode") != "lock_step"
    }
    for stream in graph.streams:
        if stream.name.rpartition("/")[2] != topics.OBSERVATION or stream.newest_age is None:
            continue  # no scene or no picture yet: the node itself reports that
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
                "The policy acts on old pictures",
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
                    "Pictures are skipped" if rate else "Nothing comes of the pictures",
                    f"Free the cores for {node}, or lower rate:="
                    if rate
                    else f"Read the log of {node}",
                )


def pictures(graph: GraphFacts) -> Iterator[Finding]:
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
        # A simulated picture has no noise: it may repeat while nothing moves.
        still = stream.name in simulated and (
            graph.travelled < MOTION or stream.same < stream.pictures
        )
        if not still:
            yield Finding(
                "frozen",
                stream.name,
                f"{stream.name} showed the same picture {stream.same} times in a row",
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
            "Stamps of two machines cannot be compared: fresh pictures count as stale",
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
            "Pictures come late and are skipped",
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
            "Record to a faster disk, or less often pictures for people (image_every)",
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
