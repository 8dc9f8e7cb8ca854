# SPDX-License-Identifier: Apache-2.0
"""The ``ptp`` command line tool."""

__version__ = "0.1.0"
