# SPDX-License-Identifier: Apache-2.0
"""An environment for a peer: our packages, and the peer's in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from ptp_core.errors import PtpError

COMPLETE = "complete"  # file that says that an installation was finished


def cache_folder() -> Path:
    """Where the peers are installed: kept between runs, safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "ptp", "bench")


def peer_python(requirement: str, folder: Path | None = None) -> Path:
    """The Python that imports ``requirement`` ("name==version"), installed at the first use.

    It takes torch and numpy from this process's environment, so that both sides run the same.
    Raises PtpError where it cannot be installed.
    """
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    folder = folder or cache_folder() / f"{requirement.replace('==', '-')}-{version}"
    python = folder / "bin" / "python"
    if (folder / COMPLETE).exists() and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(packages, "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--retries", "1", "--timeout", "20", requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PtpError(f"{requirement} cannot be installed ({last}); it needs the network once")
    (folder / COMPLETE).touch()
    return python
