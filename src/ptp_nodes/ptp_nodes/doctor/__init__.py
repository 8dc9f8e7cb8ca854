# SPDX-License-Identifier: Apache-2.0
"""Looks at a running graph and its machine, and names what is wrong with them."""
