# SPDX-License-Identifier: Apache-2.0
"""The ``ptp`` command line tool."""

__version__ = "0.2.0"
