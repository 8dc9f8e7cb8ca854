# SPDX-License-Identifier: Apache-2.0
"""The complete examination of the doctor: collect facts, then run all checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptp_nodes.tools.doctor import flow_checks, graph_checks
from ptp_nodes.tools.doctor.graph_facts import Expected, Finding, GraphFacts, Machine, short
from ptp_nodes.tools.doctor.graph_listener import listen
from ptp_nodes.tools.doctor.node_processes import ProcessObserver


@dataclasses.dataclass(frozen=True)
class Examination:
    """Facts and findings of one examination."""

    expected: Expected
    graph: GraphFacts
    machine: Machine
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"healthy": not self.findings, **dataclasses.asdict(self)}


def findings(graph: GraphFacts, machine: Machine, expected: Expected) -> tuple[Finding, ...]:
    """All findings; causes come before their effects."""
    return (
        *graph_checks.missing_nodes(graph, machine, expected),
        *graph_checks.twins(graph),
        *flow_checks.domains(graph, machine),
        *graph_checks.missing_topics(graph),
        *graph_checks.lonely_topics(graph),
        *graph_checks.definitions(graph),
        *graph_checks.qualities(graph),
        *graph_checks.encoders(graph),
        *graph_checks.states(graph),
        *flow_checks.clocks(graph),
        *flow_checks.observations(graph),
        *flow_checks.answers(graph),
        *flow_checks.pictures(graph),
        *flow_checks.threads(machine),
        *flow_checks.versions(machine),
        *flow_checks.disks(graph, machine),
        *flow_checks.shared_memory(machine),
    )


def guess(graph: GraphFacts, stacks: Iterable[Expected]) -> Expected:
    """The stack with most nodes running and fewest missing; the first one if none runs."""
    there = {short(node) for node in graph.nodes}

    def fit(stack: Expected) -> int:
        found = len(there.intersection(stack.nodes))
        return 2 * found - len(stack.nodes) if found else -(10**6)

    return max(stacks, key=fit)


def examine(
    stacks: Iterable[Expected],
    seconds: float,
    domain: int | None = None,
    pins: Iterable[Path] = (),
) -> Examination:
    """Listen for ``seconds`` and check. Of several stacks the best match is expected."""
    observer = ProcessObserver()
    graph = listen(seconds, domain)
    folders = [graph.recorder.folder] if graph.recorder else []
    machine = observer.machine(folders, pins)
    expected = guess(graph, stacks)
    return Examination(expected, graph, machine, findings(graph, machine, expected))
