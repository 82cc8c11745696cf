"""What comes of a question on Flower: lies are refused by name, and who is gone costs nobody else a round."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity
from superb_flower import messages
from superb_flower.answers import Answer, admit_reply, ask
from superb_flower.clients import find_clients

from demo.flower_federation import FlowerFederation
from simulation.engine import Engine
from superb_ks.aggregator.strategies.updates import UpdateRefused
from superb_ks.run_files import FINISHED, LAST, RECORDS, STATUS, read_model
from superb_ks.settings import SUPERB_LABELS, Addresses, Failures, Head, Recipe, Settings
from superb_notebook.connect import connect
from superb_notebook.flower import copy_app
from superb_notebook.monitor import follow
from superb_notebook.tasks import submit
from tests.support.lab import wait_until

SIZE = 8
COUNTS = {"train": 20, "val": 5, "test": 5}
MODEL = np.ones(SIZE, np.float32)


@pytest.fixture(autouse=True)
def process_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are made by a process of a run."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def question(node: int = 1, kind: str = "train") -> Message:
    asked = Message(messages.request(MODEL, {"round": 0}), node, kind)
    asked.metadata.__dict__["_message_id"] = f"question {node}"
    return asked


def reply(name: str = "a", clips: Any = 10, model: Any = MODEL) -> Message:
    return Message(messages.report(name, {"train": {"clips": clips}}, model), reply_to=question())


def test_a_reply_has_the_name_of_who_was_asked() -> None:
    sent = reply("another")
    assert admit_reply(sent, "a", SIZE, COUNTS, trained=True) == ""
    assert (messages.name_of(sent), messages.clips_of(sent)) == ("a", 10)


def test_clips_count_up_to_the_card() -> None:
    sent = reply(clips=10**9)
    told = admit_reply(sent, "a", SIZE, COUNTS, trained=True)
    assert told == "claims 1,000,000,000 clips, its shard card counts 20"
    assert messages.clips_of(sent) == 20


def with_weight(value: float) -> np.ndarray:
    return np.where(np.arange(SIZE) == 3, value, MODEL).astype(np.float32)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"model": MODEL[:3]}, "a sent 3 values, the model has 8"),
        ({"model": with_weight(np.nan)}, "a sent 1 values that are not finite"),
        ({"model": with_weight(np.inf)}, "a sent 1 values that are not finite"),
        ({"model": with_weight(1e13)}, "a sent 1 values beyond 1e+12"),
        ({"clips": 0}, "a trained on 0 clips"),
        ({"model": None}, "a sent no report of its tasks: KeyError: 'arrays'"),
    ],
)
def test_an_update_that_cannot_be_averaged_is_refused(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(UpdateRefused, match=words.replace("+", r"\+")):
        admit_reply(reply(**sent), "a", SIZE, COUNTS, trained=True)


@pytest.mark.parametrize(
    "text", ["", "7", '{"train": 7}', '{"train": {"clips": "many"}}', '{"validate": {}}']
)
def test_what_is_no_report_is_refused(text: str) -> None:
    sent = reply()
    sent.content[messages.CLIENT] = ConfigRecord({"name": "a", "report": text})
    with pytest.raises(UpdateRefused, match="^a sent no report of its tasks: "):
        admit_reply(sent, "a", SIZE, COUNTS, trained=True)


def test_clips_that_the_strategy_reads_are_those_of_the_report() -> None:
    sent = reply(clips=3)
    sent.content[messages.METRICS] = MetricRecord({"clips": 10**9})
    admit_reply(sent, "a", SIZE, COUNTS, trained=True)
    assert messages.clips_of(sent) == 3


class Line:
    """What `ask` needs of a grid: takes the messages of the first nodes, and has some answers."""

    def __init__(self, answers: dict[int, Error | None], takes: int) -> None:
        self.answers, self.takes = answers, takes
        self.asked: dict[str, Message] = {}

    def push_messages(self, questions: Iterable[Message]) -> list[str]:
        self.asked = {each.metadata.message_id: each for each in questions}
        return list(self.asked)[: self.takes]

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        found = []
        for number in numbers:
            asked = self.asked[number]
            node = asked.metadata.dst_node_id
            if node in self.answers:
                answer = Message(self.answers[node] or messages.report("x", {}, None), reply_to=asked)
                answer.metadata.__dict__["_src_node_id"] = 0  # as the SuperLink answers for a lost node
                found.append(answer)
        return found


def test_an_answer_is_known_by_its_question() -> None:
    lost, failed = (
        Error(ErrorCode.NODE_UNAVAILABLE, "gone"),
        Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "no"),
    )
    line = Line({1: None, 2: lost, 3: failed}, takes=4)
    started = time.monotonic()
    came = {each.node: each for each in ask(line, [question(node) for node in range(1, 6)], 0.3)}
    assert time.monotonic() - started < 5
    assert came[1].reply is not None
    assert came[2] == Answer(2, None, "gone")
    assert came[3] == Answer(3, None, "no", failed=True)
    assert came[4] == Answer(4, None, "no answer within 0.3 s")
    assert came[5].fault.startswith("it has left")


def test_a_client_without_a_card_is_named() -> None:
    class Nodes(Line):
        def get_node_ids(self) -> list[int]:
            return [7]

        def push_messages(self, questions: Iterable[Message]) -> list[str]:
            for each in (questions := list(questions)):
                each.metadata.__dict__["_message_id"] = "q"
            return super().push_messages(questions)

    with pytest.raises(RuntimeError, match="client 7 cannot take part: it has no card: 'card'"):
        find_clients(Nodes({7: None}, takes=1), 1)


LIES = """
        if client.name == "client_2":
            vector[3] = float("nan")
        if client.name == "client_3":
            measured["train"]["clips"] = 10**6
"""


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_liars_among_simulated_clients(shard_params: dict[str, str], tmp_path: Path) -> None:
    app = copy_app(tmp_path / "app", None)
    client_app = app / "superb_flower" / "client_app.py"
    honest = "    vector = pack(model) if trained else None\n"
    code = client_app.read_text()
    assert honest in code
    client_app.write_text(code.replace(honest, f"{honest}    if trained:{LIES}"))
    output = tmp_path / "output"
    config = {"output": str(output), "source": "folder", "data-dir": shard_params["data_dir"]}
    with Engine(tmp_path / "flower", tmp_path / "logs", clients=3, workers=1) as engine:
        for _ in engine.run({**config, "rounds": 2, "tuning": "head", "epochs-per-round": 1}, app):
            pass
        assert (output / STATUS).read_text() == FINISHED, engine.log_tail()
    records = [json.loads(line) for line in (output / RECORDS).read_text().splitlines()]
    told = {
        (record["round"], record["metric_origin"], record["task_name"]): record["metric_name"]
        for record in records
        if record["task_name"] in ("refused", "capped")
    }
    train = {
        record["metric_origin"]: record["metric_value"]
        for record in records
        if (record["round"], record["task_name"], record["metric_name"]) == (0, "train", "clips")
    }
    assert set(told) == {
        (n, *who) for n in (0, 1) for who in (("client_2", "refused"), ("client_3", "capped"))
    }
    assert told[0, "client_2", "refused"] == "client_2 sent 1 values that are not finite (NaN or infinity)"
    assert told[0, "client_3", "capped"].startswith("claims 1,000,000 clips, its shard card counts ")
    assert train["client_3"] < 1000
    assert np.isfinite(read_model(output / LAST)).all()


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rounds_go_on_without_a_node_that_leaves(shard_params: dict[str, str], tmp_path: Path) -> None:
    """One by Ctrl-C, which tells the SuperLink."""
    one_thread = {"OMP_NUM_THREADS": "1"}
    with FlowerFederation(tmp_path, envoys=2, shard_params=shard_params, environment=one_thread) as running:
        settings = Settings(
            engine="flower",
            tuning=Head(),
            recipe=Recipe(epochs_per_round=1),
            rounds=3,
            failures=Failures(min_envoys=1),
            runs_dir=str(tmp_path / "runs"),
            addresses=Addresses(director_host="127.0.0.1", director_port=running.director_port),
        )
        experiment = submit(connect(settings), settings, SUPERB_LABELS)

        def seen() -> Iterable[dict[str, Any]]:
            for record in experiment.records():
                if (record["round"], record["task_name"], record["metric_origin"]) == (
                    0,
                    "round",
                    "aggregator",
                ):
                    os.kill(running.processes["env_two"].pid, signal.SIGINT)
                    wait_until(lambda: running.processes["env_two"].exit_code() is not None, 60)
                yield record

        history = follow(seen(), settings.rounds, running.envoy_names)
    assert history.test is not None
    assert [name for name in running.envoy_names if history.value("train", "clips", 2, name)] == ["env_one"]
    assert any("env_two" in event for event in history.events), history.events
