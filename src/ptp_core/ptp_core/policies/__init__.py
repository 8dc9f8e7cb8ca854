# SPDX-License-Identifier: Apache-2.0
"""Policies: networks that turn what is seen and what is pursued into an action."""
