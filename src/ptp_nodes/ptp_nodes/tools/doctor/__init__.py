# SPDX-License-Identifier: Apache-2.0
"""The doctor: listens to a graph, then checks plain facts; the preflight of an arm."""
