# SPDX-License-Identifier: Apache-2.0
"""The ptp command: collect, pretrain, evaluate, up, demo, bench and view."""
