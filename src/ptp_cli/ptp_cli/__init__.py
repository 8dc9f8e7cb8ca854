# SPDX-License-Identifier: Apache-2.0
"""The ptp command: every task of the project behind one name."""

__version__ = "0.1.0"
