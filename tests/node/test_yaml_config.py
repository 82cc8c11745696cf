"""Configs are read as YAML 1.2 reads them: words stay words, whatever YAML 1.1 made of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from speech_commands.check.__main__ import read_config
from speech_commands.settings import read_settings
from superb_node.director.config import DirectorConfig
from superb_node.envoy.config import EnvoyConfig
from superb_node.labels import LABELS
from superb_node.yaml_config import NotYaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("nil", "nil"),
        ("12:30", "12:30"),
        ("2026-11-28", "2026-11-28"),
        ("1_000", "1_000"),
        ("'5'", "5"),
        ("1, 2", "1, 2"),
        ("=", "="),
        ("1.7.1", "1.7.1"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
    ],
)
def test_a_value_is_what_it_looks_like(config: Path, written: str, value: Any) -> None:
    config.write_text(f"key: {written}\n")
    found = read_yaml(config)["key"]
    assert (found, type(found)) == (value, type(value))


def test_names_are_texts_digit_for_digit(config: Path) -> None:
    config.write_text("labels: [1, 007, 1e5, null]\ndata_dir: 2024\ntest_dir: null\nrank_worldsize: 1\n")
    assert read_yaml(config) == {
        "labels": ["1", "007", "1e5", "null"],
        "data_dir": "2024",
        "test_dir": None,
        "rank_worldsize": "1",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: 1\nb: 2\na: 3\n", "line 3: a is set twice"),
        (b"a: [1\n", "line 2, column 1: expected ',' or ']'"),
        (b"? [1]\n: 2\n", "line 1, column 3: found unhashable key"),
        ("a: grün".encode("latin-1"), "unacceptable character"),
        (b"a: !!python/object:os.system {}", "could not determine a constructor"),
        (b"&a [*a]", "recursion"),
        (b"a: " + b"9" * 5000, "digits"),
    ],
)
def test_what_is_not_yaml_is_said_in_one_line(config: Path, content: bytes, complaint: str) -> None:
    config.write_bytes(content)
    with pytest.raises(NotYaml, match=re.escape(complaint)) as caught:
        read_yaml(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_editors_of_all_systems_write_what_can_be_read(config: Path, encoding: str) -> None:
    config.write_bytes("data_dir: grün\r\n".encode(encoding))
    assert read_yaml(config) == {"data_dir": "grün"}


def envoy_config(path: Path, params: str) -> Path:
    """Return the envoy's own config with some commented examples of it put in force."""
    text = (ROOT / "envoy" / "envoy_config.yaml").read_text(encoding="utf-8")
    path.write_text(f"{text}{params}", encoding="utf-8")
    return path


def test_the_commented_example_of_labels_is_legal(config: Path) -> None:
    text = (ROOT / "envoy" / "envoy_config.yaml").read_text(encoding="utf-8")
    example, count = re.subn(r"^(\s+)# (labels: .*)$", r"\1\2", text, flags=re.MULTILINE)
    assert count == 1
    config.write_text(example, encoding="utf-8")
    params = EnvoyConfig.load(config).descriptor_params
    assert params["labels"] == ["yes", "no", "_silence_", "_unknown_"]
    assert read_config(config)["labels"] == params["labels"]


@pytest.mark.parametrize("word", ["no", "off", "on", "yes"])
def test_every_keyword_can_be_missing(config: Path, word: str) -> None:
    params = read_config(envoy_config(config, f"    scenario: {{missing_class: {word}, snr_db: 1e1}}\n"))
    params.pop("rank_worldsize", None)
    settings = read_settings(params)
    assert word in LABELS
    assert (settings.scenario.missing_class, settings.scenario.snr_db) == (word, 10.0)


def test_the_directors_config_is_read_so_too(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIRECTOR_HOST", raising=False)
    monkeypatch.delenv("DIRECTOR_PORT", raising=False)
    config.write_text("settings: {envoys: [on, yes, no], sample_shape: [016000], listen_host: off}")
    loaded = DirectorConfig.load(config)
    assert (loaded.envoys, loaded.sample_shape, loaded.listen_host) == (
        ("on", "yes", "no"),
        ("016000",),
        "off",
    )
    config.write_text("settings: {approval: off}")
    with pytest.raises(ValueError, match="approval is 'off'; legal: open"):
        DirectorConfig.load(config)


def test_sections_can_be_merged(config: Path) -> None:
    config.write_text("common: &common {seed: 3}\nparams: {<<: *common, partition: iid}\n")
    assert read_yaml(config)["params"] == {"seed": 3, "partition": "iid"}
