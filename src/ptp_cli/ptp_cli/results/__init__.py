# SPDX-License-Identifier: Apache-2.0
"""The results page of `ptp results`: evaluations of a file, their tables and page."""
