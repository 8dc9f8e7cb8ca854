# SPDX-License-Identifier: Apache-2.0
"""Launcher of the nodes that the launch files declare, with launch_ros or without."""
