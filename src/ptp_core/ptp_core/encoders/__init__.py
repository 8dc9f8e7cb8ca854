# SPDX-License-Identifier: Apache-2.0
"""Encoders: images to latents and back. One encoder a file."""
