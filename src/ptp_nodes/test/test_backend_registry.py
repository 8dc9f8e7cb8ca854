# SPDX-License-Identifier: Apache-2.0
"""Back-ends by name: what is made, and what is said of a name or key that does not exist."""

import pytest

from ptp_core.errors import ConfigError
from ptp_nodes.robot.backend_registry import make_backend


def test_a_back_end_is_made_with_its_settings():
    backend = make_backend("fake", None, {"interface": "position", "speed_ratio": 0.2})
    assert (backend.name, backend.interface) == ("fake", "position")
    assert backend.config.speed_ratio == 0.2


def test_unknown_names_and_keys_are_named():
    with pytest.raises(ConfigError, match='no back-end "baxter": use one of fake, sawyer'):
        make_backend("baxter", None, {})
    with pytest.raises(ConfigError, match=r'my.yaml: unknown key "backend.speed"; did you mean'):
        make_backend("fake", None, {"speed": 1.0}, source="my.yaml")
