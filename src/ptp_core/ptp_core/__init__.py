# SPDX-License-Identifier: Apache-2.0
"""Planning to Practice: models, planners, agents, data and training. No ROS, no simulator."""
