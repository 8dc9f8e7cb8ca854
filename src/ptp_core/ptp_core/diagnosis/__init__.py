# SPDX-License-Identifier: Apache-2.0
"""Where success is lost, one question a file; `run_diagnosis` asks all of them."""

PARTS = ("oracle", "primitives", "probes", "critic", "plans", "legs")
