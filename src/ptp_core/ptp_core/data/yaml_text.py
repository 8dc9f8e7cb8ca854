# SPDX-License-Identifier: Apache-2.0
"""Read untrusted YAML: plain values, limited in size, without aliases.

A few lines of nested aliases can expand to billions of values ("billion laughs"). Our files need
no aliases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ptp_core.data.file_limits import MIB, read_bytes

YAML_MOST = MIB  # bytes


class _YamlLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"an alias, *{event.anchor}: write the values out")
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """The values of a YAML text. Raises yaml.YAMLError for any fault in it."""
    if len(text) > YAML_MOST:
        raise yaml.YAMLError(f"{len(text)} characters, at most {YAML_MOST} are read")
    try:
        return yaml.load(text, Loader=_YamlLoader)
    except RecursionError:
        raise yaml.YAMLError("too many levels") from None
    # Impossible dates, numbers of 5,000 digits, keys that cannot be hashed.
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from error


def load_yaml(path: Path) -> Any:
    """The values of a YAML file (UTF-8). Raises OSError, UnicodeDecodeError, yaml.YAMLError."""
    try:
        content = read_bytes(path, YAML_MOST)
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return parse_yaml(content.decode("utf-8"))
