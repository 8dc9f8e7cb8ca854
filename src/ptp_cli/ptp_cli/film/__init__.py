# SPDX-License-Identifier: Apache-2.0
"""The film of `ptp film`: one episode in process, its frames, and a small animation of them."""
