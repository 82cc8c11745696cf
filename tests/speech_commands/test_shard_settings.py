"""Settings beyond the first six: each illegal value is named with the legal ones."""

from typing import Any

import pytest

from speech_commands.settings import Archive, HubSettings, Scenario, read_settings
from superb_node.errors import DataError
from superb_node.labels import LABELS


def test_defaults() -> None:
    settings = read_settings({})
    assert (settings.source, settings.partition, settings.seed, settings.labels) == (
        "synthetic",
        "iid",
        0,
        LABELS,
    )
    assert settings.hub.revision == "refs/convert/parquet"
    assert settings.archives.test.bytes == 71_271_436
    assert not settings.scenario


def test_sections_are_read() -> None:
    settings = read_settings(
        {
            "labels": ["yes", "no"],
            "hub": {"id": "someone/superb"},
            "archives": {"train": {"url": "http://x/a.tar.gz", "bytes": 5, "sha256": "00"}},
            "scenario": {"snr_db": 10, "missing_class": "no", "gain_db": None},
            "alpha": None,
        }
    )
    assert settings.labels == ("yes", "no")
    assert settings.hub == HubSettings(id="someone/superb")
    assert settings.archives.train == Archive("http://x/a.tar.gz", 5, "00")
    assert settings.scenario == Scenario(snr_db=10, missing_class="no")
    assert settings.alpha == 0.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partitoin": "iid"}, ["partitoin", "partition", "min_shard"]),
        ({"alpha": 0}, ["alpha is 0", "0.001"]),
        ({"alpha": "big"}, ["alpha is 'big'"]),
        ({"alpha": float("nan")}, ["alpha is nan"]),
        ({"min_shard": -1}, ["min_shard is -1", "at least 0"]),
        ({"speakers": 73}, ["speakers is 73", "at least 74"]),
        ({"min_shard": 1.5}, ["min_shard is 1.5", "whole number"]),
        ({"seed": True}, ["seed is True", "whole number"]),
        ({"on_bad_clip": "ignore"}, ["on_bad_clip", "ignore", "error, skip"]),
        ({"labels": ["yes"]}, ["labels", "two or more"]),
        ({"labels": ["yes", "yes"]}, ["labels", "different"]),
        ({"labels": "yes no"}, ["labels", "list"]),
        ({"labels": ["_silence_", "_unknown_"]}, ["labels", "word"]),
        ({"hub": "s3prl/superb"}, ["hub is 's3prl/superb'", "section"]),
        ({"hub": {"name": "x"}}, ["hub", "name", "id, revision"]),
        ({"archives": {"train": {"url": "http://x"}}}, ["archives.train", "url, bytes, sha256"]),
        ({"archives": {"training": {}}}, ["archives", "training", "train, test"]),
        (
            {"archives": {"test": {"url": "u", "bytes": "many", "sha256": "0"}}},
            ["archives.test.bytes", "many"],
        ),
        ({"archives": {"test": {"url": 5, "bytes": 5, "sha256": "0"}}}, ["archives.test.url is 5", "text"]),
        ({"hub": {"train": ["a"]}}, ["hub.train is ['a']", "text"]),
        ({"scenario": {"label_noise": 1.5}}, ["scenario.label_noise is 1.5", "0 to 1"]),
        ({"scenario": {"snr_db": "loud"}}, ["scenario.snr_db", "loud"]),
        ({"scenario": {"missing_class": "maybe"}}, ["scenario.missing_class", "maybe", "yes, no"]),
        ({"scenario": {"noise": 3}}, ["scenario", "noise", "snr_db, label_noise, gain_db, missing_class"]),
    ],
)
def test_illegal_values_are_named(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_settings(given)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
