# SPDX-License-Identifier: Apache-2.0
"""Decoders of our messages for rosetta, which finds them by the entry point ``rosetta.codecs``."""

from pathlib import Path


def contract() -> str:
    """Path of the contract of our bags."""
    return str(Path(__file__).with_name("contracts") / "ptp_bags.yaml")
