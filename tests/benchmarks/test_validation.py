"""Trials are read from text, scored on clips that they were not trained on, and kept once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare.data import find_archives
from benchmarks.compare.results import load_rows, write_rows
from benchmarks.validation import __main__ as command
from benchmarks.validation import rows as rows_module
from benchmarks.validation.__main__ import main
from benchmarks.validation.rows import done, keep, table, training
from benchmarks.validation.training import FOLDS, score
from benchmarks.validation.trial import TRIALS, Trial, parse
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.settings import FedAdam, FedAvg, Head
from superb_shard_descriptor import SuperbShardDescriptor


def test_every_trial_of_the_list_can_be_read_and_has_its_base_in_it() -> None:
    assert len(set(TRIALS)) == len(TRIALS)
    for text in TRIALS:
        assert parse(text).base in TRIALS


def test_a_trial_is_what_its_text_says() -> None:
    trial = parse("head weight_decay=1 epochs_per_round=2")
    assert (trial.partition, trial.settings.tuning, trial.base) == (None, Head(), "head")
    assert trial.settings.complete_recipe.weight_decay == 1
    assert trial.settings.complete_recipe.epochs_per_round == 2
    trial = parse("dirichlet fedadam beta1=0.9")
    assert (trial.partition, trial.base) == ("dirichlet", "dirichlet fedavg")
    assert trial.settings.strategy == FedAdam(beta1=0.9)
    assert parse("iid fedavg").settings.strategy == FedAvg()
    assert (trial.settings.rounds, trial.settings.complete_recipe.epochs_per_round) == (12, 1)
    trial = parse("dirichlet fedadam batch_size=8 learning_rate=0.1")
    assert trial.settings.strategy == FedAdam(learning_rate=0.1)
    assert trial.settings.complete_recipe.batch_size == 8
    assert trial.settings.complete_recipe.learning_rate == 0.001
    trial = parse("iid fedavg rounds=4 epochs_per_round=3")
    assert (trial.settings.rounds, trial.settings.complete_recipe.epochs_per_round) == (4, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with ''; legal: full, lora, head, iid, speaker, dirichlet"),
        ("all", "begins with 'all'; legal: full, lora, head, iid, speaker, dirichlet"),
        ("iid", "has no strategy; legal: fedavg, fedprox"),
        ("iid mean", "strategy is 'mean'; legal: 'fedavg' or"),
        ("iid fedavg mu=1", "FedAvg has no field 'mu'"),
        ("iid fedavg rounds=0", "Settings.rounds is 0; legal: a whole number from 1"),
        ("full mixup=0.1", "Recipe has no field 'mixup'"),
        ("full learning_rate=-1", "Recipe.learning_rate is -1; legal: "),
        ("full learning_rate", "'learning_rate' is no change; legal: NAME=NUMBER"),
        ("head shift_seconds=0.1", "legal: shift_seconds None with tuning Head()"),
    ],
)
def test_another_text_is_refused(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="legal|has no field") as error:
        parse(text)
    assert told in str(error.value)
    assert main(["--trial", text]) == 2
    assert told in capsys.readouterr().err


def test_a_training_without_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trial", "head"]) == 2
    assert "--data FOLDER is missing" in capsys.readouterr().err


def folders(corpus: Path) -> tuple[str, str]:
    archives = find_archives(str(corpus))
    assert archives is not None
    return str(archives.train), str(archives.test)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a speaker of each split in every fold."""
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(FOLDS, FOLDS, FOLDS, 1, 1, 1))
    return folder / "speech_commands_v0.01"


def test_every_clip_is_held_out_once(corpus: Path) -> None:
    trial = parse("head epochs_per_round=1")
    clips = [score(trial, 0, fold, folders(corpus))[1] for fold in range(FOLDS)]
    everything = SuperbShardDescriptor("1, 1", source="folder", data_dir=str(corpus))
    assert sum(clips) == sum(len(everything.get_dataset(split)) for split in ("train", "val"))
    assert min(clips) > 0


def few_rounds(text: str) -> Trial:
    trial = parse(text)
    return replace(trial, settings=replace(trial.settings, rounds=4))


def test_four_envoys_in_one_process_learn(small_corpus: Path) -> None:
    """A strategy that makes no step leaves the model as it was; another one does not."""
    data = folders(small_corpus)
    still, clips = score(few_rounds("iid fedadam learning_rate=1e-12 beta1=0"), 0, 0, data)
    moved, same_clips = score(few_rounds("iid fedavg"), 0, 0, data)
    everything = SuperbShardDescriptor("1, 1", source="folder", data_dir=str(small_corpus))
    assert clips == same_clips == len(everything.get_dataset("val"))
    assert moved > still + 0.1


DATA = (1480, 384)


def test_rows_of_other_clips_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "validation.json"
    monkeypatch.setattr(rows_module, "RESULTS", file)
    assert rows_module.results_file(DATA) == file
    keep(file, parse("head"), 0, 0, (0.5, 40), data=DATA)
    assert rows_module.results_file(DATA) == file
    assert rows_module.results_file((7, 8)).name == "validation-7-8.json"


def test_rows_are_kept_once_and_not_measured_again(tmp_path: Path) -> None:
    path, trial = tmp_path / "rows.json", parse("head weight_decay=1")
    for accuracy in (0.5, 0.75):
        keep(path, trial, 0, 3, (accuracy, 40), data=DATA)
    assert [row["accuracy"] for row in load_rows(path)] == [0.75]
    assert done(load_rows(path), trial) == {("head weight_decay=1", 0, 3)}
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert done([{**rows[0], "recipe": "another"}], trial) == set()
    assert done([{**rows[0], "checkpoint": "another"}], trial) == set()
    write_rows([{**rows[0], "checkpoint": "another", "fold": 0}], path)
    keep(path, trial, 0, 3, (0.75, 40), data=DATA)
    assert [row["fold"] for row in load_rows(path)] == [3], "rows of other weights do not mix with these"
    assert "strategy" not in training(trial)["recipe"]
    assert "strategy fedavg" in training(parse("iid fedavg"))["recipe"]


def in_turn(function: Callable[..., Any], calls: Sequence[tuple]) -> Iterator[tuple[tuple, Future]]:
    """Stand in for `side_by_side`, in this process."""
    for call in calls:
        future: Future = Future()
        try:
            future.set_result(function(*call))
        except RuntimeError as error:
            future.set_exception(error)
        yield call, future


def test_the_command_goes_on_after_a_failure_and_measures_nothing_twice(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def scored(trial: Trial, seed: int, fold: int, data: tuple[str, str]) -> tuple[float, int]:
        asked.append((trial.text, seed, fold, data))
        if len(asked) == 4:
            raise RuntimeError("no space left")
        return 0.5 + fold / 10, 8

    monkeypatch.setattr(command, "side_by_side", in_turn)
    monkeypatch.setattr(command, "score", scored)
    results = ["--results", str(tmp_path / "rows.json")]
    measuring = ["--data", str(corpus), "--trial", "head", *results]
    assert main(measuring) == 1
    out, err = capsys.readouterr()
    assert "4/5 head, seed 0, fold 3: RuntimeError: no space left" in err
    assert "5/5 head, seed 0, fold 4: 90.0% of 8 clips" in err
    assert out.splitlines()[-1] == "| `head` | 67.5% |  | 4 |"
    assert main(measuring) == 0
    assert asked[5:] == [("head", 0, 3, folders(corpus))]
    assert capsys.readouterr().out.splitlines()[-1] == "| `head` | 70.0% |  | 5 |"

    rows = load_rows(tmp_path / "rows.json")
    write_rows([*rows, {**rows[0], "recipe": "another", "seed": 1}], tmp_path / "rows.json")
    assert main(["--report", *results]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "left out: 1 rows of another tiny model or another recipe"
    assert told[-1] == "| `head` | 70.0% |  | 5 |"
    assert len(asked) == 6


def test_the_table_pairs_seeds_and_folds() -> None:
    def rows(trial: str, accuracies: list[float], checkpoint: str = "a") -> list[dict]:
        named = {"trial": trial, "base": parse(trial).base, "seed": 0, "checkpoint": checkpoint}
        return [{**named, "fold": fold, "accuracy": accuracy} for fold, accuracy in enumerate(accuracies)]

    lines = table(
        [
            *rows("head", [0.5, 0.6, 0.7]),
            *rows("head weight_decay=1", [0.51, 0.62, 0.73]),
            *rows("iid fedavg", [0.8]),
            *rows("iid fedyogi", [0.79]),
            *rows("lora learning_rate=1", [0.3]),
            *rows("iid fedadam", [0.7], checkpoint="b"),
        ]
    ).splitlines()[2:]
    gains = np.array([1.0, 2.0, 3.0])
    assert lines == [
        "| `head` | 60.0% |  | 3 |",
        f"| `head weight_decay=1` | 62.0% | +2.0 ± {gains.std(ddof=1) / 3**0.5:.1f} | 3 |",
        "| `iid fedavg` | 80.0% |  | 1 |",
        "| `iid fedyogi` | 79.0% | -1.0 | 1 |",
        "| `lora learning_rate=1` | 30.0% |  | 1 |",
        "| `iid fedadam` | 70.0% |  | 1 |",
    ]
