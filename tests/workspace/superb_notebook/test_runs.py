"""Finished runs side by side; what is none is named and left out."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from superb_ks.settings import FedProx, Recipe, Settings
from superb_notebook.history import history_of
from superb_notebook.runs import find_runs, main, read_run
from superb_notebook.runs_plot import compare_runs, margin
from superb_notebook.summary import write_summary
from tests.workspace.experiment_records import ENVOYS, UPDATE_BYTES, card, two_rounds


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, of which one is called after no time, and what else is found in such a folder."""
    cards = {name: card() for name in ENVOYS}
    for name in ("20300102-030405", "thesis"):
        (tmp_path / name).mkdir()
        write_summary(tmp_path / name, Settings(), cards, history_of(two_rounds(), 2, ENVOYS))
    os.utime(tmp_path / "thesis" / "summary.json", (0, datetime(2030, 1, 1).timestamp()))
    (tmp_path / "latest").symlink_to("20300102-030405")
    for passed_over in (".partial-20300102-040506", "simulations"):
        (tmp_path / passed_over).mkdir()
    (tmp_path / "notes.txt").write_text("a file", encoding="utf-8")
    return tmp_path


def with_summary(runs: Path, name: str, content: bytes) -> Path:
    (runs / name).mkdir()
    (runs / name / "summary.json").write_bytes(content)
    return runs / name


def changed(runs: Path, **entries: Any) -> bytes:
    summary = json.loads((runs / "thesis" / "summary.json").read_bytes())
    return json.dumps({**summary, **entries}).encode()


def test_runs_are_found_the_oldest_first_with_their_figures(runs: Path) -> None:
    found, others = find_runs(runs)
    assert [run.name for run in found] == ["thesis", "20300102-030405"] and others == {}
    assert [run.date for run in found] == [datetime(2030, 1, 1), datetime(2030, 1, 2, 3, 4, 5)]
    run = found[0]
    assert (run.model, run.tuning, run.strategy, run.data, run.partition) == (
        "tiny", "full", "fedavg", "synthetic", "iid",
    )  # fmt: skip
    assert (run.envoys, run.rounds, run.accuracy, run.clips) == (2, 2, 31 / 40, 40)
    assert (run.seconds, run.bytes, run.sent) == (24.0, 2 * UPDATE_BYTES, 2 * UPDATE_BYTES / 1e6)


def test_an_older_summary_knows_the_bytes_of_a_round(runs: Path) -> None:
    older = changed(runs, bytes_sent_per_envoy=None, bytes_up_per_envoy_round=100)
    assert read_run(with_summary(runs, "older", older)).bytes == 200, "of two rounds"


def test_the_table_fits_80_columns_and_names_what_is_no_run(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with_summary(
        runs, "20300103-030405", changed(runs, model="facebook/wav2vec2-base", strategy="trimmed_mean")
    )
    (runs / "failed-20300101-000000").mkdir()
    assert main([str(runs)]) == 0
    output = capsys.readouterr()
    assert max(map(len, output.out.splitlines())) <= 80
    first = " ".join(output.out.splitlines()[2].split())
    assert first == "thesis (2030-01-01) tiny, full, fedavg 2, iid 2 77.5% 24 0.0"
    assert "20300103-030405" in output.out
    assert output.err == "Left out: failed-20300101-000000 (no summary.json)\n"


def swept(runs: Path) -> None:
    """Add two runs of a sweep."""
    for number, rate in enumerate((0.001, 0.003), start=1):
        settings = Settings(
            experiment_name=f"rates-{number}", recipe=Recipe(learning_rate=rate), strategy=FedProx(mu=0.5)
        )
        folder = runs / f"rates-{number}"
        folder.mkdir()
        history = history_of(two_rounds(), 2, ENVOYS)
        write_summary(folder, settings, {name: card() for name in ENVOYS}, history)
        os.utime(folder / "summary.json", (0, datetime(2030, 1, 4, 0, 0, number).timestamp()))


def test_the_runs_of_a_sweep_can_be_told_apart_also_beside_older_ones(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    swept(runs)
    named = changed(runs, experiment="mine")
    with_summary(runs, "20300103-030405", named)
    with_summary(runs, "20300103-040506", changed(runs, experiment="ks-20300103-040500"))
    old = {
        name: value
        for name, value in json.loads(named).items()
        if name not in ("settings", "recipe", "experiment", "envoy_names")
    }
    with_summary(runs, "20300103-050607", json.dumps(old).encode())
    assert main([str(runs)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert max(map(len, output.out.splitlines())) <= 110
    rows = [" ".join(line.split()) for line in output.out.splitlines()[2:-1]]
    assert rows == [
        "thesis (2030-01-01) tiny, full, fedavg, learning_rate=0.001 2, iid 2 77.5% 24 0.0",
        "20300102-030405 tiny, full, fedavg, learning_rate=0.001 2, iid 2 77.5% 24 0.0",
        "20300103-030405 mine tiny, full, fedavg, learning_rate=0.001 2, iid 2 77.5% 24 0.0",
        "20300103-040506 tiny, full, fedavg, learning_rate=0.001 2, iid 2 77.5% 24 0.0",
        "20300103-050607 tiny, full, fedavg 2, iid 2 77.5% 24 0.0",
        "rates-1 (2030-01-04) tiny, full, fedprox, learning_rate=0.001 2, iid 2 77.5% 24 0.0",
        "rates-2 (2030-01-04) tiny, full, fedprox, learning_rate=0.003 2, iid 2 77.5% 24 0.0",
    ]
    labels = [text.get_text() for text in compare_runs(runs).axes[0].get_yticklabels()]
    assert labels[2:] == [
        "20300103-030405 mine: 2 envoys, iid\ntiny, full, fedavg\nlearning_rate=0.001",
        "20300103-040506: 2 envoys, iid\ntiny, full, fedavg\nlearning_rate=0.001",
        "20300103-050607: 2 envoys, iid\ntiny, full, fedavg",
        "rates-1: 2 envoys, iid\ntiny, full, fedprox\nlearning_rate=0.001",
        "rates-2: 2 envoys, iid\ntiny, full, fedprox\nlearning_rate=0.003",
    ]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"model": 7}, "model is 7"),
        ({"test_accuracy": 1.5}, "test_accuracy is 1.5"),
        ({"test_accuracy": float("nan")}, "test_accuracy is nan"),
        ({"rounds": None}, "rounds is None"),
        ({"envoys": True}, "envoys is True"),
        ({"seconds_total": -1}, "seconds_total is -1"),
        ({"bytes_sent_per_envoy": "many"}, "bytes_sent_per_envoy is 'many'"),
        (
            {"bytes_sent_per_envoy": None, "bytes_up_per_envoy_round": "many"},
            "bytes_up_per_envoy_round is 'many'",
        ),
        ({"experiment": 7}, "experiment is 7"),
        ({"settings": ["seed"]}, "settings is ['seed']"),
        ({"recipe": None}, "recipe is None"),
    ],
)
def test_a_figure_that_cannot_be_is_named(runs: Path, entries: dict[str, Any], complaint: str) -> None:
    folder = with_summary(runs, "odd", changed(runs, **entries))
    with pytest.raises(ValueError, match="damaged summary.json") as caught:
        read_run(folder)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"a": "' + b"x" * (5 << 20) + b'"}']
)
def test_damaged_summaries_are_said_in_one_line_each(
    runs: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with_summary(runs, "odd\x1b[31m", content)
    assert main([str(runs)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Left out: odd\\x1b[31m (damaged summary.json: ") and len(line) < 200


def test_no_runs_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"No finished run in {tmp_path}: make demo makes one.\n"
    assert main([str(tmp_path / "none")]) == 1
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path / 'none'} is not a folder; legal: the folder of all runs\n"
    )
    assert [text.get_text() for text in compare_runs(tmp_path).texts] == [
        "There are no finished runs here; make demo makes one."
    ]


def test_the_plot_has_a_row_for_each_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"bytes_sent_per_envoy": None, "bytes_up_per_envoy_round": None}
    with_summary(runs, "20300103-030405", changed(runs, test_accuracy=0.5, **nothing))
    (runs / "notes").mkdir()
    accuracy, seconds, sent = compare_runs(runs).axes
    assert capsys.readouterr().out == "Left out: notes (no summary.json)\n"
    assert [text.get_text() for text in accuracy.get_yticklabels()] == [
        f"{name}: 2 envoys, iid\ntiny, full, fedavg"
        for name in ("thesis", "20300102-030405", "20300103-030405")
    ]
    assert [text.get_text() for text in accuracy.texts] == ["77.5%", "77.5%", "50.0%"]
    assert [text.get_text() for text in seconds.texts] == ["24"] * 3
    assert [text.get_text() for text in sent.texts] == ["0.0", "0.0", "-"]


def test_the_interval_is_that_of_so_many_clips(runs: Path) -> None:
    run = read_run(with_summary(runs, "half", changed(runs, test_accuracy=0.5, test_clips=100)))
    assert margin(run) == pytest.approx(0.098)
