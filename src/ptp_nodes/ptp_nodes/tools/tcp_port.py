# SPDX-License-Identifier: Apache-2.0
"""Ports of the servers that show a graph."""

from __future__ import annotations

import socket

from ptp_core.errors import InputError


def require_free(host: str, port: int, cure: str) -> None:
    """Raise InputError where ``port`` of ``host`` cannot be used. ``cure``: what to name else."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} of {host} cannot be used ({error.strerror}): end what uses it, or "
                f"name {cure}"
            ) from error
