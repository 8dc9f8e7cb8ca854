# SPDX-License-Identifier: Apache-2.0
"""The monitor: a live web page of a graph, drawn by Rerun."""
