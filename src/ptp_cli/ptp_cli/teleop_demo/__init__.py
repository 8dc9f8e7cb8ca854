# SPDX-License-Identifier: Apache-2.0
"""The parts of `ptp demo-teleop`: record demonstrations, learn from them, say what changed."""
