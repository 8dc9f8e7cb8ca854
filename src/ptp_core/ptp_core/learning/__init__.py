# SPDX-License-Identifier: Apache-2.0
"""Learning algorithms, one a file, each written as the equations of its paper.

What makes one faster stands in a file of its own and is proven to compute the same.
"""
