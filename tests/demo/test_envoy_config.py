from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from demo.envoy_config import ShardValue, set_shard_params
from demo.errors import DemoError

CONFIG = """\
# one envoy
params:
  cuda_devices: []

shard_descriptor:
  template: superb_shard_descriptor.SuperbShardDescriptor
  params:
    rank_worldsize: 1, 2   # this envoy, of how many
    source: "synthetic"
    data_dir: null         # a folder # of WAVs
    partition: 'iid'  # or speaker
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "envoy_config.yaml"
    path.write_text(CONFIG)
    return path


def test_values_change_and_everything_else_stays(config: Path) -> None:
    set_shard_params(config, {"rank_worldsize": "3, 4", "source": "folder", "data_dir": "/a b/#c: d"})
    text = config.read_text()
    assert yaml.safe_load(text)["shard_descriptor"]["params"] == {
        "rank_worldsize": "3, 4",
        "source": "folder",
        "data_dir": "/a b/#c: d",
        "partition": "iid",
    }
    assert [line for line in text.splitlines() if "cuda" in line or "partition" in line] == [
        "  cuda_devices: []",
        "    partition: 'iid'",
    ]


def test_a_config_changes_whole_or_not_at_all(config: Path) -> None:
    seen = config.with_name("seen")
    seen.hardlink_to(config)  # by a reader who has opened it
    set_shard_params(config, {"seed": 7})
    assert config.read_text() != CONFIG == seen.read_text()


def test_a_parameter_without_a_line_gets_one(config: Path) -> None:
    set_shard_params(config, {"seed": 7, "test_dir": "/t"})
    params = yaml.safe_load(config.read_text())["shard_descriptor"]["params"]
    assert (params["seed"], params["test_dir"], params["rank_worldsize"]) == (7, "/t", "1, 2")


def test_setting_twice_is_setting_once(config: Path) -> None:
    set_shard_params(config, {"rank_worldsize": "2, 2", "seed": 7})
    once = config.read_text()
    set_shard_params(config, {"rank_worldsize": "2, 2", "seed": 7})
    assert config.read_text() == once


@pytest.mark.parametrize("text", ["", "params: {}", "shard_descriptor: [", "shard_descriptor: {params: 3}"])
def test_a_file_without_shard_parameters_is_refused_and_left_alone(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(DemoError, match=r"envoy_config\.yaml: no shard_descriptor\.params"):
        set_shard_params(config, {"seed": 1})
    assert config.read_text() == text


def test_the_envoys_own_file_takes_every_parameter_of_the_demo(tmp_path: Path) -> None:
    own = Path(__file__).resolve().parents[2] / "envoy" / "envoy_config.yaml"
    path = tmp_path / "envoy_config.yaml"
    path.write_text(own.read_text())
    values: dict[str, str | int] = {
        "rank_worldsize": "2, 3",
        "source": "folder",
        "data_dir": "/d",
        "test_dir": "/t",
        "partition": "speaker",
        "seed": 5,
    }
    set_shard_params(path, values)
    assert yaml.safe_load(path.read_text())["shard_descriptor"]["params"] == values
    rest, before = (yaml.safe_load(each.read_text()) for each in (path, own))
    del rest["shard_descriptor"]["params"], before["shard_descriptor"]["params"]
    assert rest == before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows"])
def test_a_config_is_read_as_what_it_is(config: Path, encoding: str) -> None:
    """As Windows' Notepad saves it, too."""
    text = CONFIG + "    data: …, Grüße\n"
    if encoding == "windows":
        config.write_bytes(text.replace("\n", "\r\n").encode())
    else:
        config.write_text(text, encoding=encoding)
    set_shard_params(config, {"seed": 7})
    changed = config.read_bytes().decode()
    assert yaml.safe_load(changed)["shard_descriptor"]["params"]["seed"] == 7
    assert "    data: …, Grüße\n" in changed and "\r" not in changed


def test_a_config_in_another_encoding_is_said_so(config: Path) -> None:
    config.write_bytes(CONFIG.encode() + "# Grüße\n".encode("latin-1"))
    with pytest.raises(
        DemoError, match=r"envoy_config.yaml is no text in UTF-8 \(invalid start byte at byte"
    ):
        set_shard_params(config, {"seed": 7})


@pytest.mark.parametrize("value", [1e-05, "no", ["yes", "off"], "1_000"])
def test_values_that_yaml_1_1_reads_otherwise_are_taken(config: Path, value: ShardValue) -> None:
    set_shard_params(config, {"alpha": value})
    assert f"alpha: {json.dumps(value)}\n" in config.read_text(encoding="utf-8")
