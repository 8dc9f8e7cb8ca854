# SPDX-License-Identifier: Apache-2.0
"""Errors of requests, as results carry them: ``error_code`` and ``error_msg``."""

from __future__ import annotations

from ptp_interfaces.msg import ErrorCode

from ptp_core.errors import (
    CheckpointError,
    ConfigError,
    EpisodeError,
    InputError,
    PlanCancelled,
    PtpError,
)

_CODES = (
    (CheckpointError, ErrorCode.BAD_CHECKPOINT),
    (PlanCancelled, ErrorCode.CANCELED),
    (ConfigError, ErrorCode.BAD_REQUEST),
    (InputError, ErrorCode.BAD_REQUEST),
    (EpisodeError, ErrorCode.UNAVAILABLE),
)


class RequestError(PtpError):
    """A request failed: an ErrorCode and one line that names cause and cure."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def error_code(error: Exception) -> int:
    """ErrorCode of an exception; INTERNAL for an unknown type."""
    if isinstance(error, RequestError):
        return error.code
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ErrorCode.INTERNAL


def fill_error(result, error: Exception):
    """Write ``error`` into the error fields of a result or response, and return it."""
    result.error_code = error_code(error)
    result.error_msg = str(error) or type(error).__name__
    return result
