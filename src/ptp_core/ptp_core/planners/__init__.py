# SPDX-License-Identifier: Apache-2.0
"""Planners find subgoals between two latents.

The generative models that they search with are in the same folder.
"""
