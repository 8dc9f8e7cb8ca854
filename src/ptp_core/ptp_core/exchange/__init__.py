# SPDX-License-Identifier: Apache-2.0
"""Data sets of other programs: LeRobotDataset v3.0 and robomimic's HDF5, written and read."""
