# SPDX-License-Identifier: Apache-2.0
"""SROS2 policies, written from and compared with a running graph."""
