# SPDX-License-Identifier: Apache-2.0
"""Learning algorithms, one a file. They work on batches and use no files or processes."""
