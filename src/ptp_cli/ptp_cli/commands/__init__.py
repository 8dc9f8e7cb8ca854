# SPDX-License-Identifier: Apache-2.0
"""Subcommands of ``ptp``: for each, add_NAME(subparsers) and run_NAME(args) -> exit status."""
