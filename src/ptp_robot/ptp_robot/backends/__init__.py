# SPDX-License-Identifier: Apache-2.0
"""Ways to reach an arm: one file each, behind the interface of `base`."""
