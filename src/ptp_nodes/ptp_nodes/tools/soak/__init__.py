# SPDX-License-Identifier: Apache-2.0
"""The soak test: injects faults, and counts losses with an observer."""
