# SPDX-License-Identifier: Apache-2.0
"""Where networks learn: on the GPU where there is one."""

from __future__ import annotations

import torch

from ptp_core.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto" (CUDA where there is one).

    Raises ConfigError for "cuda" where torch finds none.
    """
    found = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if found else "cpu"
    if name == "cuda" and not found:
        raise ConfigError(
            f"device is cuda, and torch {torch.__version__} finds no GPU: install a driver and a "
            "torch built for it, or take device auto or cpu"
        )
    return torch.device(name)
