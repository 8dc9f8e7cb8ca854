# SPDX-License-Identifier: Apache-2.0
"""Cameras: devices, frames, alignment, and clients of a running camera."""
