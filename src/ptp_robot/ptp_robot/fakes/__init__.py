# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for a robot's own software, so that everything can be tried without hardware."""
