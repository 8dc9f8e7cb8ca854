# SPDX-License-Identifier: Apache-2.0
"""All checks together, and the whole examination."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptp_nodes.doctor import checks, flow
from ptp_nodes.doctor.facts import Expected, Finding, Graph, Machine
from ptp_nodes.doctor.listen import listen
from ptp_nodes.doctor.machine import Observer
from ptp_nodes.doctor.roles import short


@dataclasses.dataclass(frozen=True)
class Report:
    """What was seen, and what is wrong with it."""

    expected: Expected
    graph: Graph
    machine: Machine
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"healthy": not self.findings, **dataclasses.asdict(self)}


def findings(graph: Graph, machine: Machine, expected: Expected) -> tuple[Finding, ...]:
    """Everything that is wrong; what explains other things first."""
    return (
        *checks.missing_nodes(graph, machine, expected),
        *checks.twins(graph),
        *flow.domains(graph, machine),
        *checks.missing_topics(graph),
        *checks.lonely_topics(graph),
        *checks.definitions(graph),
        *checks.qualities(graph),
        *checks.encoders(graph),
        *checks.states(graph),
        *flow.clocks(graph),
        *flow.observations(graph),
        *flow.answers(graph),
        *flow.pictures(graph),
        *flow.threads(machine),
        *flow.versions(machine),
        *flow.disks(graph, machine),
        *flow.shared_memory(machine),
    )


def guess(graph: Graph, stacks: Iterable[Expected]) -> Expected:
    """The stack of which most nodes run and fewest are missing; the first, where none runs."""
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
) -> Report:
    """Listen for ``seconds`` and check. Of several stacks the one that fits best is meant."""
    observer = Observer()
    graph = listen(seconds, domain)
    folders = [graph.recorder.folder] if graph.recorder else []
    machine = observer.machine(folders, pins)
    expected = guess(graph, stacks)
    return Report(expected, graph, machine, findings(graph, machine, expected))
