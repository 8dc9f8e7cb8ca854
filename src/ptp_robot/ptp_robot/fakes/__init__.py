# SPDX-License-Identifier: Apache-2.0
"""Fakes of a robot's own software, for tests and trials without hardware."""
