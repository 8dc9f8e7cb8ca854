# SPDX-License-Identifier: Apache-2.0
"""Learning algorithms, plain, one a file. They know batches, not files or processes."""
