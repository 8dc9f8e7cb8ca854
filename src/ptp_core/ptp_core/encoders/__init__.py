# SPDX-License-Identifier: Apache-2.0
"""Encoders map images to latents and back. Each encoder has a file of its own."""
