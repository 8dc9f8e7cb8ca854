# SPDX-License-Identifier: Apache-2.0
"""The live page of a graph, drawn by Rerun."""
