# SPDX-License-Identifier: Apache-2.0
"""Operator interface: dialog, keys and buttons, goal files, images and videos."""
