# SPDX-License-Identifier: Apache-2.0
"""Names of methods and settings in files of earlier versions, and what they are called today.

Until the method `ptp` meant three levels of generators, its name stood for whatever the planner's
settings said: in the released settings for a search of one level. Files keep the name that they
were written with; every reader goes through `with_todays_name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Name in the file -> name today, where the file's planner has a single level. Today's methods of
# these names refuse such settings, so no file of today is renamed.
OF_ONE_LEVEL = {"ptp": "ptp_single_subgoal"}
OF_SETTINGS = {"updates_per_step": "utd_ratio"}  # name in the file -> name today


def with_todays_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run or values of an evaluation, under the names of today."""
    settings = {OF_SETTINGS.get(key, key): value for key, value in settings.items()}
    planner = settings.get("planner")
    one_level = isinstance(planner, Mapping) and planner.get("levels") == 1
    name = settings.get("method")
    return {**settings, "method": OF_ONE_LEVEL.get(name, name) if one_level else name}
