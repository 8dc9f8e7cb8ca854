# SPDX-License-Identifier: Apache-2.0
"""`ptp soak`: the practice stack under random faults, and what became of it."""
