# SPDX-License-Identifier: Apache-2.0
"""Lets tests import the plug-in from here.

Where LeRobot is not installed, the modules that need none of it can be imported all the same: the
package then is a folder whose `__init__`, which imports LeRobot, does not run.
"""

import importlib.util
import sys
import types
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("lerobot") is None:
    package = types.ModuleType("lerobot_robot_ptp")
    package.__path__ = [str(FOLDER / "lerobot_robot_ptp")]
    sys.modules[package.__name__] = package
else:
    sys.path.insert(0, str(FOLDER))
