# SPDX-License-Identifier: Apache-2.0
"""LeRobot's plug-in of our environments. Importing it registers ``--env.type=ptp_table``."""

from lerobot_env_ptp.lerobot_table import GYM_ID, LerobotTable, register
from lerobot_env_ptp.table_config import PtpTableConfig

__all__ = ["GYM_ID", "LerobotTable", "PtpTableConfig"]

register()
