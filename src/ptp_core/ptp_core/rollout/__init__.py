# SPDX-License-Identifier: Apache-2.0
"""Rollouts of an agent in an environment, their results, and evaluations over many episodes."""
