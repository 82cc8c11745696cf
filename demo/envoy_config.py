"""Changes the envoy's YAML file the way a person does in an editor: a value here and there."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from demo.errors import DemoError

ShardValue = str | int | float | list[str]
_ANCHOR = "rank_worldsize"


def set_shard_params(path: Path, values: Mapping[str, ShardValue]) -> None:
    """Set parameters of the shard descriptor in an envoy's configuration; comments stay.

    Args:
        path: the `envoy_config.yaml` of one envoy.
        values: parameter to value, such as {"rank_worldsize": "1, 2", "seed": 0}.

    Raises:
        DemoError: the file is no text, has no `shard_descriptor.params`, or does not read back with the new
            values.
    """
    text = _text_of(path)
    for key, value in values.items():
        text = _set_value(text, key, json.dumps(value))
    found = _shard_params(text, path)
    if any(found.get(key) != _as_texts(json.dumps(value)) for key, value in values.items()):
        raise DemoError(f"{path.name}: shard_descriptor.params does not take {dict(values)}")
    path.write_text(text, encoding="utf-8")


def _text_of(path: Path) -> str:
    """Read a YAML file, which is UTF-8 or, as its first two bytes say, UTF-16."""
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DemoError(f"{path.name} is no text in UTF-8 ({error.reason} at byte {error.start})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _set_value(text: str, key: str, value: str) -> str:
    """Replace the value on the line of `key`, or add a line for it below the rank."""
    line = re.compile(
        rf"^(?P<indent>[ \t]*){re.escape(key)}:"
        r"(?P<value>[ \t]*(?:\"[^\"]*\"|'[^']*'|[^#\n]*?))(?P<comment>[ \t]+#.*)?[ \t]*$",
        re.MULTILINE,
    )
    changed, count = line.subn(lambda m: f"{m['indent']}{key}: {value}{m['comment'] or ''}", text, count=1)
    if count:
        return changed
    anchor = re.compile(rf"^([ \t]*){_ANCHOR}:.*$", re.MULTILINE)
    return anchor.sub(lambda m: f"{m[0]}\n{m[1]}{key}: {value}", text, count=1)


def _as_texts(text: str) -> Any:
    """Parse YAML and leave every value as it is written: what a number is, is the envoy's affair."""
    return yaml.load(text, yaml.BaseLoader)


def _shard_params(text: str, path: Path) -> dict[str, Any]:
    try:
        params = _as_texts(text)["shard_descriptor"]["params"]
    except (KeyError, TypeError, yaml.YAMLError):
        params = None
    if not isinstance(params, dict):
        raise DemoError(f"{path.name}: no shard_descriptor.params in it")
    return params
