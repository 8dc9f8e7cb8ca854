# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes: bags on disk, sessions, repair, and import into data sets."""
