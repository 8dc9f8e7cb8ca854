# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes of PTP: camera, encoder, planner, policy, practice and view."""
