# SPDX-License-Identifier: Apache-2.0
"""Cameras: devices and their controls, what is wrong with a picture, and where a camera stands."""
