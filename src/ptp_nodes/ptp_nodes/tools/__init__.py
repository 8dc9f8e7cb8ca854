# SPDX-License-Identifier: Apache-2.0
"""Tools for a running graph: doctor, monitor, soak test, SROS2 policies."""
