# SPDX-License-Identifier: Apache-2.0
"""Everything that acts. `agent.py` is the seam that the rest of the code knows."""
