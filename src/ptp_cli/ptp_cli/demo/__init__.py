# SPDX-License-Identifier: Apache-2.0
"""The demo of `ptp demo`: the run, films, figures and page."""
