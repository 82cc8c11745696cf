"""Reads a config file as YAML 1.2 does: `yes`, `off`, `12:30`, `010` and a date are what they look like.

PyYAML speaks YAML 1.1, which makes True, False, 750, 8 and a date of these, and a text of `1e-3`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

NULL = "tag:yaml.org,2002:null"
TEXT = "tag:yaml.org,2002:str"
# Keys whose values are texts, digit for digit: `labels: [1, 007]` are folders of these names. A value that is
# null by itself stays so.
WORDS = (
    *("labels", "missing_class", "data_dir", "test_dir", "rank_worldsize", "template", "id", "revision"),
    *("url", "sha256", "listen_host", "sample_shape", "target_shape", "approved_digests"),
)
# Plain scalars of YAML 1.2's core schema; all others are texts. A float that is an int too is an int.
CORE = {
    NULL: r"~|null|Null|NULL|",
    "tag:yaml.org,2002:bool": r"true|True|TRUE|false|False|FALSE",
    "tag:yaml.org,2002:int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}


class NotYaml(ValueError):
    """The file cannot be read; the message is one line that says where."""


class CoreLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """Read a decimal number, also with zeros before it, or one with 0o or 0x."""
        text = self.construct_scalar(node)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


for _tag, _pattern in CORE.items():
    CoreLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), None)
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), None)
CoreLoader.add_constructor("tag:yaml.org,2002:int", CoreLoader.construct_core_int)


def read_yaml(path: Path) -> Any:
    """Read a config file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        NotYaml: it cannot be read, is not YAML, or has a key twice in one section.
    """
    try:
        loader = CoreLoader(path.read_bytes())
        node = loader.get_single_node()
        if node is None:
            return None
        _prepare(node)
        return loader.construct_document(node)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise NotYaml(where + reason.replace(' in "<byte string>"', "")) from error


def _prepare(node: yaml.Node) -> None:
    """Mark what is a text, and refuse keys that come twice: one of the two would go unnoticed."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _prepare(item)
    if isinstance(node, yaml.MappingNode):
        seen: set[str | None] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise NotYaml(f"line {key.start_mark.line + 1}: {name} is set twice")
            seen.add(name)
            if name in WORDS:
                items = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for item in items:
                    if isinstance(item, yaml.ScalarNode) and not (item is value and item.tag == NULL):
                        item.tag = TEXT
            _prepare(value)
