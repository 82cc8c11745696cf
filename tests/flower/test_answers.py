"""What comes of a question on Flower: lies are refused by name, and who is gone costs nobody else a round."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from superb_flower import client_app, messages
from superb_flower.answers import Answer, Report, ask, read_report
from superb_flower.output import in_words

from demo.flower_federation import FlowerFederation
from simulation.engine import Engine
from superb_ks.aggregator.strategies.updates import UpdateRefused
from superb_ks.run_files import FINISHED, LAST, RECORDS, STATUS, read_model
from superb_ks.settings import SUPERB_LABELS, Addresses, Failures, Head, Recipe, Settings
from superb_node.flower.cli import FlowerRefused
from superb_notebook.connect import connect
from superb_notebook.flower import copy_app
from superb_notebook.monitor import follow
from superb_notebook.tasks import submit
from tests.support.grid import Nodes
from tests.support.lab import wait_until

pytestmark = pytest.mark.usefixtures("process_of_a_run")

SIZE = 8
COUNTS = {"train": 20, "val": 5, "test": 5}
MODEL = np.ones(SIZE, np.float32)


def question(node: int = 1, kind: str = "train") -> Message:
    asked = Message(messages.request(MODEL, {"round": 0}), node, kind)
    asked.metadata.__dict__["_message_id"] = f"question {node}"
    return asked


def reply(name: str = "a", clips: Any = 10, model: Any = MODEL) -> Message:
    sent = Message(messages.report(name, {"train": {"clips": 10}}, model), reply_to=question())
    told = json.dumps({"train": {"clips": clips}})
    sent.content[messages.CLIENT] = ConfigRecord({"name": name, "report": told})
    return sent


def report_of(sent: Message, asked: tuple[str, ...] = ("train",)) -> Report:
    return read_report(sent, "a", asked, SIZE, COUNTS)


def test_a_reply_has_the_name_of_who_was_asked() -> None:
    report = report_of(reply("another"))
    assert (report.name, report.notes) == ("a", [])
    assert (messages.name_of(report.update), messages.clips_of(report.update)) == ("a", 10)


def test_clips_count_up_to_the_card() -> None:
    report = report_of(reply(clips=10**9))
    assert report.notes == [("capped", "claims 1,000,000,000 clips, its shard card counts 20")]
    assert report.measured["train"]["clips"] == messages.clips_of(report.update) == 20


def with_weight(value: float) -> np.ndarray:
    return np.where(np.arange(SIZE) == 3, value, MODEL).astype(np.float32)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"model": MODEL[:3]}, "a sent 3 values, the model has 8"),
        ({"model": with_weight(np.nan)}, "a sent 1 values that are not finite"),
        ({"model": with_weight(np.inf)}, "a sent 1 values that are not finite"),
        ({"model": with_weight(1e13)}, "a sent 1 values beyond 1e\\+12"),
        ({"clips": 0}, "a trained on 0 clips"),
        ({"clips": []}, "a trained on 0 clips"),
        ({"clips": -3}, "a trained on 0 clips"),
        ({"model": None}, "a sent no report of its tasks: KeyError: 'arrays'"),
        (
            {"model": MODEL.reshape(2, 4)},
            "a sent no report of its tasks: ValueError: a model is one vector of floats",
        ),
    ],
)
def test_an_update_that_cannot_be_averaged_is_refused(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(UpdateRefused, match=f"^{words}"):
        report_of(reply(**sent))


@pytest.mark.parametrize(
    "text",
    [
        *("7", '{"train": 7}', '{"train": {"clips": {}}}', "{}"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"train": {"clips": 1%s}}' % ("0" * 400), id="beyond a float"),
        pytest.param('{"train": {"clips": 1}}' + " " * messages.MAX_REPORT_CHARACTERS, id="long"),
        pytest.param('{"train": {"clips": 1}}\x1b[2J\nforged', id="for a terminal"),
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    sent = reply()
    sent.content[messages.CLIENT] = ConfigRecord({"name": "a", "report": text})
    with pytest.raises(UpdateRefused, match="^a sent no report of its tasks: ") as refused:
        report_of(sent)
    assert str(refused.value).isprintable()


def too_large() -> bytes:
    """The file of an array whose header promises more than there is."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**60,)})
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", too_large()], ids=["empty", "zip", "too large"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    sent = reply()
    array = Array("float32", (SIZE,), "numpy.ndarray", data)
    sent.content[messages.ARRAYS] = ArrayRecord({messages.WEIGHTS: array})
    with pytest.raises(UpdateRefused, match="^a sent no report of its tasks: "):
        report_of(sent)


def test_no_more_is_taken_than_was_asked_for() -> None:
    """Whoever reported a validation in the last round could choose the best model."""
    forged = {"test_best": {"clips": 5}, "validate": {"clips": 5, "accuracy": 1.0}}
    sent = Message(messages.report("a", forged, None), reply_to=question())
    with pytest.raises(UpdateRefused, match="^a reports 'validate', which it was not asked for$"):
        report_of(sent, asked=("test_best",))


def test_an_update_has_no_more_records_than_all_others() -> None:
    """Flower's strategies refuse a whole round for one."""
    sent = reply(clips=3)
    sent.content["more"] = MetricRecord({"clips": 10**9})
    sent.content[messages.METRICS] = MetricRecord({"clips": 10**9, "loss": 1.0})
    update = report_of(sent).update
    assert sorted(update.content) == sorted(reply().content)
    assert dict(update.content[messages.METRICS]) == {"clips": 3}


def test_the_records_of_a_round_are_limited_over_all_tasks() -> None:
    many = {"clips": 5, "confusion": np.ones((80, 80)).tolist()}
    sent = Message(messages.report("a", {"validate": many, "test": many}, None), reply_to=question())
    report = report_of(sent, asked=("validate", "test"))
    assert [kind for kind, _ in report.notes] == ["ignored"]
    assert "6,400 records of the 12,000" in report.notes[0][1]
    assert ("confusion" in report.measured["validate"], "confusion" in report.measured["test"]) == (
        True,
        False,
    )


def test_an_answer_is_known_by_its_question() -> None:
    lost, failed = (
        Error(ErrorCode.NODE_UNAVAILABLE, "gone"),
        Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "no"),
    )
    told = messages.fault("no clip\nforged")
    line = Nodes({1: messages.report("x", {}, None), 2: lost, 3: failed, 4: told}, takes=5)
    started = time.monotonic()
    came = {each.node: each for each in ask(line, [question(node) for node in range(1, 7)], 0.3)}
    assert time.monotonic() - started < 5
    assert came[1].reply is not None
    assert came[2] == Answer(2, None, "gone")
    assert came[3] == Answer(3, None, "no", failed=True)
    assert came[4] == Answer(4, None, "no clip\\nforged", failed=True)
    assert came[5] == Answer(5, None, "no answer within 0.3 s")
    assert came[6].fault.startswith("it has left")


def test_what_went_wrong_on_a_client_is_short_and_safe() -> None:
    long = "\x1b[2J" + "no " * 10_000
    raised = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, long)
    came = list(ask(Nodes({1: raised, 2: messages.fault(long)}), [question(1), question(2)], 5.0))
    assert [each.failed for each in came] == [True, True]
    for each in came:
        assert each.fault.startswith("\\x1b[2Jno ") and each.fault.isprintable()
        assert len(each.fault) < 21_000


@pytest.mark.parametrize(
    ("node", "line", "traced"),
    [
        ({}, "a SuperNode needs name and envoy-config: start it by envoy/start_supernode.sh", False),
        (
            {"partition-id": "x"},
            "in of, line [0-9]+: ValueError: invalid literal for int\\(\\) with base 10: 'x'",
            True,
        ),
    ],
)
def test_a_client_says_in_a_line_why_it_failed(
    node: dict[str, Any], line: str, traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody foresaw it, the client's own log has the traceback."""
    logged: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        client_app, "log", lambda _level, text, exc_info: logged.append((text, exc_info is not None))
    )
    asked = question(kind="query")
    reply = client_app.app(asked, Context(1, 1, node, RecordDict(), {}))
    assert re.fullmatch(line, messages.fault_in(reply))
    assert logged == [(messages.fault_in(reply), traced)]


@pytest.mark.parametrize(
    ("number", "task", "metrics", "words"),
    [
        (
            0,
            "validate",
            {"accuracy": 0.048, "clips": 432},
            "Before training: validation accuracy 4.8% on 432 clips",
        ),
        (
            0,
            "test_initial",
            {"accuracy": 0.05, "clips": 2000},
            "Before training: test accuracy 5.0% on 2,000 clips",
        ),
        (0, "train", {"loss": 1.25, "clips": 3}, "Round 1: training loss 1.2500"),
        (
            2,
            "validate",
            {"accuracy": 1.0, "clips": 1},
            "After round 2: validation accuracy 100.0% on 1 clips",
        ),
        (4, "test_best", {"accuracy": 0.5, "clips": 2}, "The best model: test accuracy 50.0% on 2 clips"),
        (1, "validate", {"accuracy": [0.5, 0.5], "clips": 2}, ""),
        (1, "train", {"clips": 2}, ""),
        (5, "personalise", {"accuracy": 0.5, "clips": 2}, ""),
    ],
)
def test_the_log_tells_how_a_run_goes(number: int, task: str, metrics: dict[str, Any], words: str) -> None:
    assert in_words(number, task, {name: np.asarray(value) for name, value in metrics.items()}) == words


LIES = """
    if trained and client.name == "client_2":
        vector[3] = float("nan")
    if trained and client.name == "client_3":
        measured["train"]["clips"] = 10**6
    if client.name == "client_4":
        measured["failure"] = {"clips": 1, "forged": 0.0}
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
    client_app.write_text(code.replace(honest, f"{honest}{LIES}"))
    output = tmp_path / "output"
    config = {"output": str(output), "source": "folder", "data-dir": shard_params["data_dir"]}
    with Engine(tmp_path / "flower", tmp_path / "logs", clients=4, workers=1) as engine:
        for _ in engine.run({**config, "rounds": 2, "tuning": "head", "epochs-per-round": 1}, app):
            pass
        assert (output / STATUS).read_text() == FINISHED, engine.log_tail()
    records = [json.loads(line) for line in (output / RECORDS).read_text().splitlines()]
    told = {
        (record["metric_origin"], record["task_name"], record["metric_name"])
        for record in records
        if record["metric_origin"] != "aggregator"
        and record["task_name"] not in ("train", "validate", "test")
    }
    train = {
        record["metric_origin"]: record["metric_value"]
        for record in records
        if (record["round"], record["task_name"], record["metric_name"]) == (0, "train", "clips")
    }
    (claim,) = [words for _, kind, words in told if kind == "capped"]
    assert claim.startswith("claims 1,000,000 clips, its shard card counts ")
    assert {each for each in told if not each[1].startswith("test")} == {
        ("client_2", "refused", "client_2 sent 1 values that are not finite (NaN or infinity)"),
        ("client_3", "capped", claim),
        ("client_4", "refused", "client_4 reports 'failure', which it was not asked for"),
    }
    assert train["client_3"] < 1000
    assert np.isfinite(read_model(output / LAST)).all()


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rounds_go_on_without_a_node_that_leaves(shard_params: dict[str, str], tmp_path: Path) -> None:
    """One by Ctrl-C, which tells the SuperLink; then the other one's clips go."""
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
        clips = Path(shard_params["data_dir"])
        clips.rename(gone := clips.with_name("gone"))
        with pytest.raises(FlowerRefused) as refused:
            connect(settings).get_shard_registry()
        gone.rename(clips)
    line = f"client [0-9]+ cannot take part: data_dir {re.escape(str(clips))}: no such folder"
    assert re.fullmatch(line, str(refused.value))
    assert history.test is not None
    assert [name for name in running.envoy_names if history.value("train", "clips", 2, name)] == ["env_one"]
    assert any("env_two" in event for event in history.events), history.events
