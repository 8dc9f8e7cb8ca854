# SPDX-License-Identifier: Apache-2.0
"""Subcommands of ``ptp``, one per file: add_parser(subparsers) and run(args) -> exit status."""
