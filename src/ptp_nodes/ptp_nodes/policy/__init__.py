# SPDX-License-Identifier: Apache-2.0
"""What the nodes with networks use: agents, weight updates, fresh observations, heartbeats."""
