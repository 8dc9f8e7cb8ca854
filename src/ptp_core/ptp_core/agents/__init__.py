# SPDX-License-Identifier: Apache-2.0
"""Agents, one method a file. `agent.py` has the protocol that the rest of the code uses."""
