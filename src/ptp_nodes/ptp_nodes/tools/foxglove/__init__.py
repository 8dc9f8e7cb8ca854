# SPDX-License-Identifier: Apache-2.0
"""`ptp foxglove`: the graph over Foxglove's WebSocket protocol."""
