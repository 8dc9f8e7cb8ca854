# SPDX-License-Identifier: Apache-2.0
"""What `ptp report` makes of runs: curves, a table, strips, films and the page that shows them."""
