# SPDX-License-Identifier: Apache-2.0
"""The executables of `ros2 run ptp_nodes`, one node a file.

What they use stands in the other rooms.
"""
