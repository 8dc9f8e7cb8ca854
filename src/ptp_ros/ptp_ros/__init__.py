# SPDX-License-Identifier: Apache-2.0
"""ROS 2 helpers shared by every node: parameters, life cycle, images, actions, topics."""
