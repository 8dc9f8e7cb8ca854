# SPDX-License-Identifier: Apache-2.0
"""Planners find subgoals between two latents.

The generators that they search with stand beside them.
"""
