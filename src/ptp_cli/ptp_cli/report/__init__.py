# SPDX-License-Identifier: Apache-2.0
"""The report of `ptp report`: curves, tables, subgoal strips, films and page."""
