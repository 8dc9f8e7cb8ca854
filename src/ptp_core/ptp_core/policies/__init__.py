# SPDX-License-Identifier: Apache-2.0
"""Policies act towards the goal or subgoal that they are given.

Their weights can change while they act.
"""
