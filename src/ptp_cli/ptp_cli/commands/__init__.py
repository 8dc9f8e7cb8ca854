# SPDX-License-Identifier: Apache-2.0
"""One file a subcommand: add_parser(subparsers) and run(args) -> exit status."""
