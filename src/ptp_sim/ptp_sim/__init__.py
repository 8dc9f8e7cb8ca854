# SPDX-License-Identifier: Apache-2.0
"""The simulated table: a Sawyer, a drawer with a tray, a block and a can in PyBullet."""
