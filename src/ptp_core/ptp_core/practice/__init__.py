# SPDX-License-Identifier: Apache-2.0
"""Practice (paper Alg. 1): rollouts, learning from them, and runs that survive interruptions."""
