"""Rounds of clients of which each has one split: who is missed, and what a run leaves all the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from superb_flower import messages
from superb_flower.clients import Clients
from superb_flower.errors import RunFailed
from superb_flower.output import Output
from superb_flower.rounds import Rounds

from superb_ks.run_files import BEST, LAST, RECORDS, read_model
from superb_ks.schedule import TEST_BEST, TRAIN
from superb_ks.settings import Failures, Privacy, Settings
from superb_node.shard_card import SPLITS
from tests.support.grid import Nodes

# A run's process ends with its records open.
pytestmark = [
    pytest.mark.usefixtures("process_of_a_run"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HAS = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test"}
NODES = {name: number for number, name in enumerate(HAS, start=1)}
START = np.zeros(3, np.float32)
Away = Mapping[int, set[str]]
"""Who is out of reach in a round."""


class Speakers(Nodes):
    """Clients that answer at once, of one clip each, and add 1 to the model where they train."""

    def __init__(self, away: Away) -> None:
        super().__init__({})
        self._away = away

    def answer(self, question: Message) -> Message:
        config, name = messages.config_of(question), list(NODES)[question.metadata.dst_node_id - 1]
        if name in self._away.get(int(config["round"]), ()):
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "gone"), reply_to=question)
        tasks = [task for task, _ in json.loads(str(config["tasks"]))]
        measured = {task: {"clips": 1, "accuracy": 0.5, "loss": 1.0} for task in tasks}
        vector = messages.vector_of(question) + 1 if TRAIN in tasks else None
        return Message(messages.report(name, measured, vector), reply_to=question)


def run(folder: Path, min_envoys: int, away: Away, **more: Any) -> list[dict[str, Any]]:
    """Run two rounds of training, and the two that close a run; returns the records."""
    cards = {
        name: {"clips": {each: {"yes": int(each == split)} for each in SPLITS}} for name, split in HAS.items()
    }
    settings = Settings(engine="flower", rounds=2, failures=Failures(min_envoys=min_envoys), **more)
    rounds = Rounds(Speakers(away), Clients(NODES, cards), b"", settings, Output(folder), 1.0)
    rounds.run(START)
    return [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]


def test_who_has_nothing_to_do_in_a_round_is_not_missed(tmp_path: Path) -> None:
    """One validates alone at the end, and two test alone."""
    records = run(tmp_path, min_envoys=6, away={})
    assert read_model(tmp_path / LAST).tolist() == [2, 2, 2]
    assert read_model(tmp_path / BEST).tolist() == [0, 0, 0], "the first of equals"
    tested = [each for each in records if (each["task_name"], each["metric_name"]) == (TEST_BEST, "clips")]
    assert {each["metric_origin"]: each["metric_value"] for each in tested} == {
        "e": 1,
        "f": 1,
        "aggregator": 2,
    }


def test_the_lost_are_missed_until_they_answer_again(tmp_path: Path) -> None:
    run(tmp_path / "back", min_envoys=5, away={0: {"a"}, 3: {"e"}})
    with pytest.raises(RunFailed, match="^4 of 6 clients are left, min_envoys is 5$"):
        run(tmp_path / "gone", min_envoys=5, away={1: {"a"}, 3: {"e"}})


PRIVATE = Privacy(clip_norm=1.0, noise_multiplier=1.0)


@pytest.mark.parametrize(
    ("privacy", "away", "told"),
    [
        (PRIVATE, {"a"}, "2 of 3 updates came; with privacy all have to"),
        (PRIVATE, {"a", "b", "c"}, "no usable update came"),
        (None, {"a", "b", "c"}, "no usable update came"),
    ],
)
def test_why_a_round_leaves_the_model(
    privacy: Privacy | None, away: set[str], told: str, tmp_path: Path
) -> None:
    records = run(tmp_path, min_envoys=1, away={0: away}, privacy=privacy)
    assert [each["metric_name"] for each in records if each["task_name"] == "unchanged"] == [told]


def test_nobody_is_left(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="^0 of 6 clients are left, min_envoys is 1$"):
        run(tmp_path, min_envoys=1, away={0: set(HAS)})


def test_without_any_validation_the_last_model_counts(tmp_path: Path) -> None:
    run(tmp_path, min_envoys=1, away={number: {"d"} for number in range(4)})
    assert read_model(tmp_path / BEST).tolist() == read_model(tmp_path / LAST).tolist() == [2, 2, 2]
