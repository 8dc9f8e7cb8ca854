# SPDX-License-Identifier: Apache-2.0
"""What `ptp results` does: evaluations that a file lists, and the page and tables of them."""
