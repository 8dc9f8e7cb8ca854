# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes: one rosbag2 folder each, in a session folder with an index."""
