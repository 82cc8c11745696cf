"""Our side of the transport benchmark, at the smallest size, and the arithmetic of its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.transport import ours as transport_ours
from benchmarks.transport import report as report_transport
from benchmarks.transport import run as run_transport
from benchmarks.transport.job import STEP, EventLog, Job, empty_model, evaluate, random_model, train_step
from benchmarks.transport.result import WrongResult, check, figures, load, medians, merge
from benchmarks.transport.watch import MemoryWatch, process_memory


@pytest.mark.slow
@pytest.mark.federation
def test_our_engine_does_the_job(tmp_path: Path) -> None:
    job = Job("small", clients=2, rounds=2)
    run = transport_ours.run(job, tmp_path, limit_seconds=120)
    assert run.unfinished == ""
    assert len(run.seconds["rounds"]) == 2
    assert {"submit", "to_first_task", "first_round", "warm_round", "to_finished"} <= run.seconds.keys()
    assert all(run.memory[role]["peak"] >= run.memory[role]["base"] > 0 for role in ("server", "client"))
    # Each envoy fetches the model for two rounds and a closing one, and sends it twice; then the submission.
    assert run.loopback_bytes > 4 * 120_000 * (2 * 3 + 2 * 2 + 1)
    assert 0 < run.details["experiment_bytes"] < 20_000


def events(*rows: tuple[float, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"t": t, "event": name, **values} for t, name, values in rows]


FINISHED = events(
    (0.0, "initial", {"value": 0.5}),
    (1.0, "submit", {}),
    (2.0, "submitted", {}),
    (4.0, "train", {"round": 0}),
    (4.5, "train", {"round": 0}),
    (9.0, "train", {"round": 1}),
    (9.5, "evaluate", {"round": 1, "value": 0.5 + 2 * STEP}),
    (12.0, "finished", {}),
)


def test_figures_are_the_times_between_events() -> None:
    measured = figures(FINISHED, Job(rounds=2))
    assert measured == {
        "rounds": [5.0, 0.5],
        "first_round": 5.0,
        "warm_round": 0.5,
        "submit": 1.0,
        "to_first_task": 2.0,
        "to_finished": 2.5,
        "total": 11.0,
    }


def test_a_round_that_was_cut_off_is_not_counted() -> None:
    measured = figures(FINISHED[:-1], Job(rounds=2))
    assert measured["rounds"] == [5.0]
    assert "warm_round" not in measured


def test_wrong_weights_are_found() -> None:
    check(FINISHED, Job(rounds=2))
    with pytest.raises(WrongResult, match="3 rounds lead to"):
        check(FINISHED, Job(rounds=3))


def test_training_adds_the_step_and_the_seed_decides_the_weights() -> None:
    model = random_model("small", seed=1)
    before = evaluate(model)
    assert before == evaluate(random_model("small", seed=1)) != evaluate(random_model("small", seed=2))
    train_step(model)
    assert evaluate(model) == pytest.approx(before + STEP, abs=1e-7)


def test_sizes_are_what_they_are_called() -> None:
    for size, millions in (("small", 0.125), ("1m", 1.0), ("10m", 9.8)):
        count = sum(p.numel() for p in empty_model(size).parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.05), size


def test_an_unknown_size_is_named_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="size is 'huge'; legal: small, 1m, 10m, base, large"):
        Job("huge")


def test_medians_go_down_into_dictionaries_and_lists() -> None:
    runs = [{"a": {"x": 1.0}, "b": [1, 10], "c": ""}, {"a": {"x": 3.0}, "b": [3, 30], "c": "late"}]
    assert medians(runs) == {"a": {"x": 2.0}, "b": [2, 20], "c": "late"}


def test_merging_keeps_other_entries(tmp_path: Path) -> None:
    path = tmp_path / "results" / "transport.json"
    merge("engines", {"one": {"seconds": 1.23456}}, path)
    merge("engines", {"two": {"runs": 3}}, path)
    merge("engines", {"two": {"seconds": 2}}, path)
    assert load(path) == {"engines": {"one": {"seconds": 1.2346}, "two": {"seconds": 2}}}
    assert [child.name for child in path.parent.iterdir()] == ["transport.json"]


def test_events_come_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps({"t": t, "event": str(t)}) + "\n" for t in (2, 1)))
    log = EventLog(path)
    log.note("now", round=3)
    assert [event["event"] for event in log.read()] == ["1", "2", "now"]


def test_memory_that_grows_is_seen() -> None:
    import os
    import time

    watched = {"me": os.getpid()}
    with MemoryWatch(watched) as watch:
        block = bytearray(os.urandom(1)) * (64 * 2**20)
        time.sleep(0.3)
    assert len(block) == 64 * 2**20
    figure = watch.figures()["me"]
    assert figure["peak_anonymous"] - figure["base_anonymous"] > 32 * 2**20
    assert process_memory(2**31 - 1) == {}


def test_an_engine_that_is_not_installed_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_transport, "WORK", tmp_path)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))  # where its commands would be
    assert not run_transport.measure("flower", Job(), run_transport.parse(["--quick"]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flower, small: Flower is not installed for ")


@pytest.mark.slow
def test_the_report_has_a_row_for_each_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = {"base_anonymous": 1e6, "peak_anonymous": 3e6}
    done = {"rounds": [1.0], "first_round": 1.0, "warm_round": 0.5, "submit": 0.1, "to_first_task": 0.2}
    common = {
        "parameters": 124_748,
        "size": "small",
        "clients": 2,
        "memory": {"server": memory, "client": memory},
    }
    entries = {
        "ours/small/2": {"engine": "ours", "seconds": done, "unfinished": "", **common},
        "openfl/small/2": {
            "engine": "openfl",
            "seconds": {"rounds": []},
            "unfinished": "did not finish in 9 s",
            **common,
        },
    }
    merge("engines", entries, tmp_path / "r.json")
    report_transport.main(["--results", str(tmp_path / "r.json"), "--images", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| 0.125 M | this project | 0.1 s | 0.2 s | 1 s | 0.5 s | – | 1 + 2 MB | 1 + 2 MB |" in printed
    assert "| OpenFL as shipped | – | – | did not finish in 9 s |" in printed
    assert (tmp_path / "transport.png").stat().st_size > 1000
    assert (tmp_path / "transport.svg").stat().st_size > 1000
