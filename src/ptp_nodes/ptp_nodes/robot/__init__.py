# SPDX-License-Identifier: Apache-2.0
"""What the arm driver uses: messages, back-ends on the graph, and its clients."""
