# SPDX-License-Identifier: Apache-2.0
"""Agents: one module a method, what they have in common, and the registry of their names.

`agent` is the seam that everything else knows; `method` what a method says of itself.
"""
