# SPDX-License-Identifier: Apache-2.0
"""Environments that run in a Python of their own: the host's side, the guest's side, the pipe.

`guest_worker`, `pipe` and the modules of single guests run in the guest's Python, which has
numpy and the guest's packages alone.
"""
