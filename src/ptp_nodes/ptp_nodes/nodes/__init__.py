# SPDX-License-Identifier: Apache-2.0
"""The executables of `ros2 run ptp_nodes`, one node per file."""
