"""Sets parameters of the shard descriptor in the copy of an envoy's YAML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from demo.errors import DemoError
from superb_node.work_folder import replace_file

ShardValue = str | int | float | list[str] | None


def set_shard_params(path: Path, values: Mapping[str, ShardValue]) -> None:
    """Set parameters of the shard descriptor; all other values stay as they are written, comments go.

    Args:
        path: the `envoy_config.yaml` of one envoy.
        values: parameter to value, such as {"rank_worldsize": "1, 2", "seed": 0}.

    Raises:
        DemoError: the file is no text, or has no `shard_descriptor.params`.
    """
    try:
        # Nodes keep what is written: what is a number is for the envoy to say.
        root = yaml.compose(path.read_bytes(), Loader=yaml.BaseLoader)
        params = _entry(_entry(root, "shard_descriptor"), "params")
        if not isinstance(params, yaml.MappingNode):
            raise KeyError("params")
    except yaml.reader.ReaderError as error:
        reason = f"{error.reason} at byte {error.position}"
        raise DemoError(f"{path.name} is no text in UTF-8 ({reason})") from error
    except (KeyError, yaml.YAMLError):
        raise DemoError(f"{path.name}: no shard_descriptor.params in it") from None
    kept = [(key, value) for key, value in params.value if key.value not in values]
    params.value = kept + [
        (yaml.ScalarNode("tag:yaml.org,2002:str", key), yaml.compose(json.dumps(value), yaml.BaseLoader))
        for key, value in values.items()
    ]
    replace_file(path, yaml.serialize(root, Dumper=yaml.BaseDumper, allow_unicode=True).encode())


def _entry(node: yaml.Node | None, name: str) -> yaml.Node:
    """The value of a key in a mapping; KeyError if there is none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value for key, value in pairs}[name]
