# SPDX-License-Identifier: Apache-2.0
"""SROS2 policies: what each node may do, compared with what it does on the running graph."""
