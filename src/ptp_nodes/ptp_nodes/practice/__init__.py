# SPDX-License-Identifier: Apache-2.0
"""The loop of Algorithm 1 for the practice node, its metrics, and the learner's back-pressure."""
