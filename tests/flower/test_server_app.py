"""What a run says and checks before its rounds, without any client."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from superb_flower import server_app
from superb_flower.clients import Clients
from superb_flower.errors import RunFailed
from superb_flower.experiment import text_of

from superb_ks.experiment import Experiment
from superb_ks.run_files import CARDS, FAILED, FAILURE, FINISHED, RECORDS, STATUS
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_node.shard_card import SPLITS
from tests.flower.conftest import app_defaults

# A run's process ends with its records open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Reached(Exception):
    """The rounds would begin."""


def no_rounds(*_: Any) -> None:
    raise Reached


def one_with(*splits: str) -> Clients:
    """A client that has a clip of some splits."""
    clips = {split: {"yes": int(split in splits)} for split in SPLITS}
    return Clients({"env_one": 1}, {"env_one": {"labels": list(SUPERB_LABELS), "clips": clips}})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run logs until its rounds begin; one client is there."""
    told: list[str] = []
    monkeypatch.setattr(server_app, "log", lambda _level, text, *values: told.append(text % values))
    monkeypatch.setattr(server_app, "find_clients", lambda *_: one_with("train", "val", "test"))
    monkeypatch.setattr(server_app, "Rounds", no_rounds)
    return told


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def begin(**given: Any) -> Path:
        """Begin a run with the app's config, and what is given of it; returns its folder."""
        config = {**app_defaults(), "output": str(tmp_path / "output"), **given}
        server_app.main(None, Context(1, 1, {}, RecordDict(), config))
        return tmp_path / "output"

    return begin


def test_the_recipe_follows_where_the_results_are(log: list[str], run: Callable[..., Path], tmp_path: Path):
    own = '{"strategy": {"learning_rate": 0.5}, "recipe": {"shift_seconds": 0.1}}'
    with pytest.raises(Reached):
        run(strategy="fedadam", settings=own)
    assert log == [
        f"Records and models are in {tmp_path / 'output'}",
        "Recipe: 2 epochs a round, batches of 8, rate 0.001 (warm-up 10 %, decay 0.01), speed +/-15 %, "
        "shift +/-0.1 s, time masks 10 %, feature masks 10 %; "
        "strategy fedadam(learning_rate=0.5, beta1=0.5, beta2=0.99, tau=0.001)",
    ]
    assert (tmp_path / "output" / STATUS).read_text() == FAILED


def test_who_asks_for_cards_alone_trains_by_no_recipe(log: list[str], run: Callable[..., Path]):
    output = run(**{"cards-only": True})
    assert {file.name for file in output.iterdir()} >= {CARDS, STATUS}
    assert (output / STATUS).read_text() == FINISHED
    assert len(log) == 2 and not any("Recipe" in line for line in log)


def reason(output: Path) -> str:
    """Why the run in a folder has failed, as a notebook reads it."""
    assert (output / STATUS).read_text() == FAILED
    records = [json.loads(line) for line in (output / RECORDS).read_text().splitlines()]
    (told,) = [record["metric_name"] for record in records if record["task_name"] == FAILURE]
    return str(told)


@pytest.mark.parametrize(("lacks", "words"), [("train", "training"), ("val", "validation"), ("test", "test")])
def test_a_run_that_could_not_learn_or_be_scored_ends_before_its_rounds(
    log: list[str],
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lacks: str,
    words: str,
):
    """As on a director, where the tutorial's tasks refuse a split without clips."""
    having = [split for split in SPLITS if split != lacks]
    monkeypatch.setattr(server_app, "find_clients", lambda *_: one_with(*having))
    with pytest.raises(RunFailed):
        run()
    assert reason(tmp_path / "output") == f"no client has {words} clips"


@pytest.mark.parametrize("own", [{"model": "build"}, {"shard": "open_own"}])
def test_functions_of_a_notebook_are_refused_before_the_rounds(
    log: list[str],
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: dict[str, str],
):
    usual = Experiment.read(text_of(Settings(), SUPERB_LABELS))
    sent = replace(usual, **own).to_bytes()
    monkeypatch.setattr(server_app, "notebooks_text", lambda: sent)
    with pytest.raises(RunFailed):
        run()
    told = "on Flower no function of the notebook builds the model (model=...) or opens a shard (shard=...)"
    assert reason(tmp_path / "output") == told


def in_folder(value: Any, folder: Path) -> Any:
    """Put a folder's path in the place of HERE, if the value is a text."""
    return value.replace("HERE", str(folder)) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("given", "words", "made"),
    [
        ({"fraction-evaluate": 2}, "the run config's fraction-evaluate is 2; legal: in (0, 1]", set()),
        ({"fraction-evaluate": "x"}, "the run config's fraction-evaluate is 'x'; legal: in (0, 1]", set()),
        ({"settings": 5}, "the run config's settings are 5; legal: a JSON object", set()),
        ({"output": "HERE/file"}, "the run config's output cannot be written: [Errno 17] File exists", set()),
        ({"output": "HERE/file/run"}, "the run config's output cannot be written: [Errno 20] Not a", set()),
        ({"model": "HERE/nowhere"}, "model is 'HERE/nowhere', no folder here; legal: 'tiny', ", {"output"}),
        ({"model": "HERE/empty"}, "cannot load the model: HERE/empty has no config.json", {"output"}),
    ],
)
def test_what_a_run_cannot_use_is_told_in_a_line(
    log: list[str],
    run: Callable[..., Path],
    tmp_path: Path,
    given: dict[str, Any],
    words: str,
    made: set[str],
):
    """What can be known before the clients are asked leaves no folder."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    there = {each.name for each in tmp_path.iterdir()}
    with pytest.raises(RunFailed) as failed:
        run(**{name: in_folder(value, tmp_path) for name, value in given.items()})
    assert str(failed.value).startswith(in_folder(words, tmp_path))
    assert str(failed.value).isprintable()
    assert {each.name for each in tmp_path.iterdir()} - there == made
    if made:
        assert reason(tmp_path / "output") == str(failed.value)


def test_runs_at_once_have_folders_of_their_own(tmp_path: Path):
    """None has a status yet when the next one looks."""
    folders = [server_app._output(tmp_path / "output").folder.name for _ in range(3)]
    assert folders == ["output", "output-2", "output-3"]


def test_an_error_that_nobody_foresaw_is_told_with_its_kind(
    log: list[str], run: Callable[..., Path], tmp_path: Path
):
    with pytest.raises(Reached):
        run()
    assert reason(tmp_path / "output") == "Reached: "
