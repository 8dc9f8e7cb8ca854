# SPDX-License-Identifier: Apache-2.0
"""The soak test: faults on purpose, and an observer that counts what was lost."""
