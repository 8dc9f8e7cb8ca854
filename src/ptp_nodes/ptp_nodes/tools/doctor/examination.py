# SPDX-License-Identifier: Apache-2.0
"""The complete examination of the doctor: collect facts, then run all checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptp_nodes.tools.doctor import doctor_checks
from ptp_nodes.tools.doctor.doctor_facts import (
    Expected,
    Finding,
    GraphFacts,
    Machine,
    ProcessObserver,
    short,
)
from ptp_nodes.tools.doctor.graph_listener import listen


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
        *doctor_checks.missing_nodes(graph, machine, expected),
        *doctor_checks.twins(graph),
        *doctor_checks.domains(graph, machine),
        *doctor_checks.missing_topics(graph),
        *doctor_checks.lonely_topics(graph),
        *doctor_checks.definitions(graph),
        *doctor_checks.qualities(graph),
        *doctor_checks.encoders(graph),
        *doctor_checks.states(graph),
        *doctor_checks.clocks(graph),
        *doctor_checks.observations(graph),
        *doctor_checks.answers(graph),
        *doctor_checks.images(graph),
        *doctor_checks.threads(machine),
        *doctor_checks.versions(machine),
        *doctor_checks.disks(graph, machine),
        *doctor_checks.shared_memory(machine),
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
