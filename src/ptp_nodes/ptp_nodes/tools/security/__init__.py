# SPDX-License-Identifier: Apache-2.0
"""SROS2 policies: written from a running graph, or checked against one."""
