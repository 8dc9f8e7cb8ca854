# SPDX-License-Identifier: Apache-2.0
"""Live pictures, arm and curves in a local web page, with Rerun's SDK where it is installed."""
