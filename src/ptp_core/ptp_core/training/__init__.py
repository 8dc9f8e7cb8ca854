# SPDX-License-Identifier: Apache-2.0
"""Offline training: resumable stages, checkpoints, curves."""
