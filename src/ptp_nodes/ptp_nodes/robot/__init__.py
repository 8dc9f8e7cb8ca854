# SPDX-License-Identifier: Apache-2.0
"""Helpers of the arm driver node: messages, back-ends on the graph, and clients."""
