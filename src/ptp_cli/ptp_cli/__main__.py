# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m ptp_cli`, the same as the ``ptp`` command."""

import sys

from ptp_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
