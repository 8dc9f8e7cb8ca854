# SPDX-License-Identifier: Apache-2.0
"""Policies, the subgoal follower, and updates of weights while a policy runs."""
