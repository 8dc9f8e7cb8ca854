# SPDX-License-Identifier: Apache-2.0
"""Data sets: demonstrations on disk and in memory, latents of them, and readers with bounds."""
