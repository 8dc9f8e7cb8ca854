# SPDX-License-Identifier: Apache-2.0
"""Data sets: demonstrations on disk and in memory, their latents, and bounded file readers."""
