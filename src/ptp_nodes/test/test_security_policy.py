# SPDX-License-Identifier: Apache-2.0
"""SROS2 policy files: what they allow, how they are written, and what is refused."""

import pytest

from ptp_core.errors import ConfigError
from ptp_nodes.tools.security.sros2_policies import (
    Rules,
    forbidden,
    policies_in,
    read_policy,
    write_policy,
)

RULES = Rules(
    publish=frozenset({"/arm/command", "/hand/*"}),
    subscribe=frozenset({"/latent"}),
    reply=frozenset({"/hand/get_state", "/reset"}),
    request=frozenset({"/arm/rearm"}),
    execute=frozenset({"/reach"}),
    call=frozenset({"/plan"}),
)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "hand.xml"
    write_policy(path, RULES)
    assert read_policy(path) == RULES
    text = path.read_text()
    assert "<topic>~/*</topic>" in text and "<service>~/get_state</service>" in text
    assert '<enclave path="/ptp/hand">' in text
    assert policies_in(tmp_path) == {"hand": RULES}


def test_everything_that_is_not_allowed_is_named():
    use = Rules(
        publish=frozenset({"/hand/loss", "/plan"}),
        call=frozenset({"/reach"}),
        request=frozenset({"/arm/rearm"}),
    )
    assert RULES.forbidden(use) == ["publish /plan", "call /reach"]
    assert RULES.forbidden(RULES) == []
    assert forbidden({"hand": RULES}, {"hand": use, "foot": Rules()}) == [
        "foot: has no policy",
        "hand: publish /plan",
        "hand: call /reach",
    ]


def test_rules_add_up_and_a_pattern_stands_for_what_it_covers():
    both = RULES | Rules(publish=frozenset({"/hand/loss", "/plan"}))
    assert both.publish == {"/arm/command", "/hand/*", "/plan"}
    assert both.subscribe == RULES.subscribe


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("<policy", "<policy ", None),
        ('version="0.2.0"', 'version="0.1.0"', "no SROS2 policy of version 0.2.0"),
        ('path="/ptp/hand"', 'path="/"', "one enclave /ptp/hand with the node hand"),
        ('ns="/"', 'ns="/left"', "one enclave /ptp/hand with the node hand"),
        ('publish="ALLOW"', 'publish="DENY"', 'topics publish="DENY" is not known here'),
        ("<topic>latent</topic>", "<topic/>", "topics must hold names of topics"),
        ("</policy>", "", "no XML"),
    ],
)
def test_a_file_that_is_no_such_policy_is_refused(tmp_path, before, after, message):
    path = tmp_path / "hand.xml"
    write_policy(path, RULES)
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    if message is None:
        assert read_policy(path) == RULES
        return
    with pytest.raises(ConfigError, match=message):
        read_policy(path)


def test_a_folder_without_policies_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no policies"):
        policies_in(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "none.xml")
