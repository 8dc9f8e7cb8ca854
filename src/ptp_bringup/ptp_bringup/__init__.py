# SPDX-License-Identifier: Apache-2.0
"""Launch files, parameters and the description of each stack of nodes."""
