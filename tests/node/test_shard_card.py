"""Whatever goes in, a card of the schema comes out, or the named refusal."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from superb_node.director.director import Director
from superb_node.shard_card import MAX_BYTES, MAX_LETTERS, MAX_NUMBER, NoCard, clips_by_split, read_card
from tests.support.cards import ANY_CARDS, CARD, WHOLE
from tests.support.open_gate import open_gate


def card(**changes: Any) -> str:
    return json.dumps({**WHOLE, **changes})


def test_what_a_card_does_not_say_is_filled_in_and_what_the_schema_does_not_name_is_left_out() -> None:
    none = dict.fromkeys(("train", "val", "test"), 0)
    own = card(speakers={"train": 4}, data_dir="/home/me/Music", notes={"deep": [[]]}, rank=1, world_size=2)
    assert read_card(own) == {
        **WHOLE, "source": "unknown", "partition": "unknown", "rank": 1, "world_size": 2, "skipped": 0,
        "scenario": {}, "speakers": {**none, "train": 4}, "seconds": none,
    }  # fmt: skip


def test_classes_without_clips_count_none() -> None:
    clips = {"train": {"no": 7}, "val": {}, "test": {"yes": 1}}
    assert read_card(card(clips=clips))["clips"]["train"] == {"yes": 0, "no": 7}
    assert clips_by_split(read_card(card(clips=clips)))["train"] == 7


COUNT = f"a whole number from 0 to {MAX_NUMBER:,}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Recordings of our clinic.", "'Recordings of our clinic.' is not JSON"),
        ("", "'' is not JSON"),
        ("\x1b[2J", r"'\x1b[2J' is not JSON"),
        ("[" * 60_000, "is not JSON"),
        ("9" * 60_000, "is not JSON"),
        ("[1, 2]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        (7, "it is 7, no text"),
        ([], "it is list, no text"),
        ("{}", "its `labels` is None; legal: 1 to 100 different names"),
        (card(labels="yes"), "its `labels` is 'yes'"),
        (card(labels=[1, 2]), "its `labels` is list"),
        (card(labels=["yes", "yes"]), "its `labels` is list"),
        (card(labels=["yes", "a\nb"]), "its `labels` is list"),
        (card(labels=["yes", "x" * (MAX_LETTERS + 1)]), "its `labels` is list"),
        (card(labels=[str(number) for number in range(101)]), "its `labels` is list"),
        (card(clips=7), "its `clips` has no numbers by class for train"),
        (card(clips={"train": {"yes": 1}}), "no numbers by class for val"),
        (card(clips={"train": {"yes": "many"}}), f"for train; legal: for each class {COUNT}"),
        (card(clips={"train": {"yes": True}}), "no numbers by class for train"),
        (card(clips={"train": {"yes": -1}}), "no numbers by class for train"),
        (card(clips={"train": {"yes": 1e9}}), "no numbers by class for train"),
        (card(clips=dict.fromkeys(("train", "val", "test"), {"left": 1})), "counts 'left', which is none"),
        (card(clips=dict.fromkeys(("train", "val", "test"), {})), "it has no training clips"),
        (card(rank="first"), "its `rank` is 'first'; legal: null, or a whole number from 1"),
        (card(rank=10**300), "its `rank` is a larger number"),
        (card(source=None), "its `source` is None; legal: a text of 1 to 60 printable letters"),
        (card(source="a\x1b]0;owned\x07"), r"its `source` is 'a\x1b]0;owned\x07'"),
        (card(speakers={"train": 10**400}), f"its `speakers` for train is a larger number; legal: {COUNT}"),
        (card(speakers={"val": 1.5}), "its `speakers` for val is 1.5"),
        (card(seconds={"train": float("nan")}), "its `seconds` for train is nan; legal: a number from 0"),
        (card(seconds=[1]), "its `seconds` is list; legal: for train, val and test a number"),
        (card(scenario={"a": {"b": 1}}), "its `scenario` is dict"),
        (card(notes="x" * MAX_BYTES), f"characters, and {MAX_BYTES:,} are legal"),
    ],
)  # fmt: skip
def test_what_is_no_card_is_refused_in_one_printable_line(text: object, reason: str) -> None:
    with pytest.raises(NoCard) as refused:
        read_card(text)
    assert reason in str(refused.value) and str(refused.value).isprintable()
    assert len(str(refused.value)) < 250


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in (key, *leaves(inner))]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


@settings(max_examples=500, deadline=None)
@given(ANY_CARDS)
def test_any_text_is_a_card_of_the_schema_or_refused(text: str) -> None:
    try:
        read = read_card(text)
    except NoCard:
        return
    assert read.keys() == read_card(CARD).keys()
    for leaf in leaves(read):
        assert leaf is None or (leaf.isprintable() if isinstance(leaf, str) else abs(leaf) <= MAX_NUMBER)
    assert clips_by_split(read)["train"] > 0


def test_an_experiment_gets_the_limits_that_the_cards_count(tmp_path) -> None:
    shapes = {"sample_shape": ["1"], "target_shape": ["1"]}
    settings = {"tls": False, "envoy_health_check_period": 5, **shapes}
    director = Director(experiments_folder=tmp_path, gate=open_gate(tmp_path), **settings)
    director.acknowledge_shard({"node_info": {"name": "one"}, "shard_description": CARD, **shapes})
    assert director._clips(["one", "two"]) == {"one": {"train": 5, "val": 5, "test": 5}}
