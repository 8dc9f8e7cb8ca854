# SPDX-License-Identifier: Apache-2.0
"""The doctor: collects facts about a graph and checks them. Preflight of an arm."""
