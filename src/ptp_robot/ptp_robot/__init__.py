# SPDX-License-Identifier: Apache-2.0
"""Kinematics, action scaling and workspace box, shared by simulator and arm driver."""
