# SPDX-License-Identifier: Apache-2.0
"""The sweep of `ptp sweep`: configuration, schedule, executors and display."""
