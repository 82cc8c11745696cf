"""The director counts an envoy's training clips from its shard card, if it is one."""

import json

import pytest

from superb_node.director.director import Director
from superb_node.director.shard_card import training_clips


def test_a_card() -> None:
    assert training_clips(json.dumps({"labels": ["a"], "clips": {"train": {"a": 3, "b": 4}}})) == 7


@pytest.mark.parametrize(
    "description",
    [
        "our recordings of 2024", "", "[]", "null", "3", '{"clips": 1}', '{"clips": {"train": [1]}}',
        '{"clips": {"train": {"a": -1}}}', '{"clips": {"train": {"a": 1e9}}}',
        '{"clips": {"train": {"a": true}}}', '{"clips": {"train": {"a": {}}}}', "[" * 30_000,
    ],
)  # fmt: skip
def test_what_is_no_card_counts_nothing(description: str) -> None:
    assert training_clips(description) is None


def test_an_experiment_gets_the_limits_of_those_that_describe_themselves(tmp_path, monkeypatch) -> None:
    shapes = {"sample_shape": ["1"], "target_shape": ["1"]}
    director = Director(experiments_folder=tmp_path, tls=False, envoy_health_check_period=5, **shapes)
    for name, card in (("one", '{"clips": {"train": {"a": 3}}}'), ("two", "in words")):
        director.acknowledge_shard({"node_info": {"name": name}, "shard_description": card, **shapes})
    assert director._training_clips(["one", "two", "three"]) == {"one": 3}
