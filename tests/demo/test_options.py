from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from demo.__main__ import kernel_variables, main, notebook_parameters
from demo.federation import Federation
from demo.options import TUTORIAL, WORKSPACE, OptionError, Options, parse_options

from .conftest import notebook_of


def test_defaults_are_those_of_the_makefile() -> None:
    assert parse_options([]) == Options(TUTORIAL, 2, "iid", 0.5, None, None, 0, {})
    assert parse_options([]).shard_params == {"source": "synthetic", "partition": "iid", "seed": 0}


def test_the_test_archive_is_found_beside_the_training_archive(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archives)
    options = parse_options(["--data", "speech_commands_v0.01", "--partition", "speaker", "--seed", "4"])
    assert options.shard_params == {
        "source": "folder",
        "data_dir": str(archives / "speech_commands_v0.01"),
        "test_dir": str(archives / "speech_commands_test_set_v0.01"),
        "partition": "speaker",
        "seed": 4,
    }


def test_a_named_test_archive_wins(archives: Path, tmp_path: Path) -> None:
    options = parse_options(["--data", str(archives / "speech_commands_v0.01"), "--test-data", str(tmp_path)])
    assert options.test_dir == tmp_path


def test_the_testing_list_can_take_the_place_of_the_test_archive(tmp_path: Path) -> None:
    options = parse_options(["--data", str(tmp_path), "--test-data", "testing_list"])
    assert options.test_dir == options.shard_params["test_dir"] == "testing_list"
    federation = Federation(tmp_path)
    named = notebook_parameters(options, federation, tmp_path)["TEST_DATA"]
    assert (WORKSPACE / named).resolve() == tmp_path.resolve() / "testing_list.txt"


def test_a_simulation_gets_the_archives_that_were_named(archives: Path, tmp_path: Path) -> None:
    data = archives / "speech_commands_v0.01"

    def given(*more: str) -> dict[str, Any]:
        options = parse_options(["--notebook", "5", *more])
        return notebook_parameters(options, Federation(tmp_path), tmp_path)

    assert given() == {"DATA": "synthetic", "TEST_DATA": None, "SEED": 0}
    assert given("--data", str(data), "--test-data", "testing_list")["TEST_DATA"] == "testing_list"
    named = given("--data", str(data), "--test-data", str(tmp_path))
    assert {name: (WORKSPACE / named[name]).resolve() for name in ("DATA", "TEST_DATA")} == {
        "DATA": data.resolve(),
        "TEST_DATA": tmp_path.resolve(),
    }


def test_a_local_model_becomes_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_options(["--model", "saved"]).settings["MODEL"] == str(tmp_path / "saved")
    hub = "facebook/wav2vec2-base"
    assert parse_options(["--model", hub]).settings["MODEL"] == hub


def test_settings_that_nobody_asks_for_are_the_notebooks(tmp_path: Path) -> None:
    """Make passes on empty texts."""
    options = parse_options([f"--{name}=" for name in ("rounds", "model", "tuning", "strategy", "baseline")])
    federation = Federation(tmp_path / "run")
    assert notebook_parameters(options, federation, tmp_path / "run") == {
        "DIRECTOR_HOST": "localhost",
        "DIRECTOR_PORT": federation.director_port,
        "AGGREGATOR_PORT": federation.aggregator_port,
        "RUN_DIR": os.path.relpath(tmp_path / "run", WORKSPACE),
        "TEST_DATA": None,
        "SEED": 0,
    }
    options = parse_options(["--rounds", "7", "--tuning", "lora", "--strategy", "median", "--seed", "4"])
    given = notebook_parameters(options, federation, tmp_path / "run")
    assert [given[name] for name in ("ROUNDS", "TUNING", "STRATEGY", "SEED")] == [7, "lora", "median", 4]


def test_a_voice_gets_a_folder_that_goes_with_the_run(tmp_path: Path) -> None:
    options = parse_options(["--notebook", "6"])
    given = notebook_parameters(options, Federation(tmp_path / "run"), tmp_path / "run")
    assert given["VOICE_DIR"] == os.path.relpath(tmp_path / "run" / "nodes" / "my_voice", WORKSPACE)


def test_a_baseline_is_for_the_notebook_that_has_one(tmp_path: Path) -> None:
    options = parse_options(["--notebook", "3", "--baseline", "tiny"])
    assert notebook_parameters(options, Federation(tmp_path), tmp_path)["BASELINE"] == "tiny"
    with pytest.raises(OptionError, match="^BASELINE: PyTorch_.*ipynb has no such setting"):
        parse_options(["--baseline", "tiny"])


def test_tracking_is_told_to_every_notebook_by_variables(tmp_path: Path) -> None:
    assert kernel_variables(parse_options([]), tmp_path) == {"SUPERB_RUN_DIR": str(tmp_path)}
    options = parse_options(["--notebook", "2", "--track", "tensorboard"])
    assert kernel_variables(options, tmp_path)["SUPERB_TRACK"] == "tensorboard"


@pytest.fixture
def numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with two numbered notebooks; returns the second, which trains nothing."""
    for name in ("3_baselines.ipynb", "4_privacy.ipynb"):
        notebook = notebook_of("1")
        notebook.cells[1].source = "ROUNDS = 2\nSEED = 0"
        nbformat.write(notebook, tmp_path / name)
    monkeypatch.setattr("demo.options.WORKSPACE", tmp_path)
    return tmp_path / "4_privacy.ipynb"


def test_a_notebook_has_a_number_or_a_file(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("4", "4_privacy.ipynb", str(numbered)):
        assert parse_options(["--notebook", name]).notebook == numbered
    assert parse_options(["--notebook", "1"]).notebook == TUTORIAL
    monkeypatch.chdir(numbered.parent)
    assert parse_options(["--notebook", "3_baselines.ipynb"]).notebook.name == "3_baselines.ipynb"


@pytest.mark.parametrize("setting", ["DATA", "TEST_DATA"])
def test_an_archive_that_a_notebook_would_not_read_is_refused(
    numbered: Path, archives: Path, tmp_path: Path, setting: str
) -> None:
    cells = nbformat.read(numbered, as_version=4)
    cells.cells[1].source += "\nDATA = 'synthetic'" if setting == "TEST_DATA" else "\nTEST_DATA = None"
    nbformat.write(cells, numbered)
    folders = ["--data", str(archives / "speech_commands_v0.01"), "--test-data", str(tmp_path)]
    with pytest.raises(OptionError, match=f"^{setting}: 4_privacy.ipynb has no such setting; it has "):
        parse_options(["--notebook", "4", *folders])


def test_a_notebook_gets_the_settings_that_it_has(numbered: Path, tmp_path: Path) -> None:
    options = parse_options(["--notebook", "4", "--rounds", "5"])
    assert notebook_parameters(options, Federation(tmp_path), tmp_path) == {"ROUNDS": 5, "SEED": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2"], "NOTEBOOK=2: no such notebook; legal values are 1, 3, 4 and a notebook's file"),
        (["no.ipynb"], "NOTEBOOK=no.ipynb: no such notebook; legal values are 1, 3, 4 and a notebook's file"),
        (["4", "--strategy", "median"], "STRATEGY: 4_privacy.ipynb has no such setting; it has ROUNDS, SEED"),
        (["script.py"], "script.py is no notebook: "),
    ],
)
def test_a_bad_notebook_ends_in_one_line(
    numbered: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (numbered.parent / "script.py").write_text("print('not a notebook')")
    assert main(["--notebook", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"demo: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--envoys", "0"], "ENVOYS=0: legal values are whole numbers from 1 to 32"),
        (["--envoys", "two"], "ENVOYS=two: legal values are whole numbers from 1 to 32"),
        (["--rounds", "-1"], "ROUNDS=-1: legal values are whole numbers from 1 to 1000"),
        (["--rounds", "2.5"], "ROUNDS=2.5: legal values"),
        (["--seed", ""], "SEED=: legal values"),
        (["--alpha", "0"], "ALPHA=0: legal values are numbers above 0"),
        (["--partition", "words"], "PARTITION=words: legal values are iid, speaker, dirichlet, quantity"),
        (["--data", "no/such"], "DATA=no/such: no such folder; legal values are synthetic and"),
        (["--data", ".", "--test-data", "no/such"], "TEST_DATA=no/such: no such folder"),
        (
            ["--data", "."],
            "DATA=.: no speech_commands_test_set_v0.01 next to it; name the test archive with TEST_DATA="
            "PATH, or have none: TEST_DATA=testing_list tests on what testing_list.txt in DATA names",
        ),
        (["--test-data", "testing_list"], "TEST_DATA=testing_list: goes with DATA=PATH only"),
        (["--test-data", "."], "TEST_DATA=.: goes with DATA=PATH only"),
        (["--model", "./no/such"], "MODEL=./no/such: no such folder"),
        (
            ["--strategy", "mean"],
            "STRATEGY=mean: legal values are fedavg, fedprox, fedadam, fedyogi, median,",
        ),
        (["--baseline", "./no/such"], "BASELINE=./no/such: no such folder"),
        (["--tuning", "all"], "TUNING=all: legal values with MODEL=tiny are full, lora, head"),
        (["--model", "scratch", "--tuning", "head"], "TUNING=head: legal values with MODEL=scratch are full"),
        (
            ["--track", "tensorboard", "--notebook", "5"],
            "TRACK=tensorboard: 5_hundreds_of_speakers.ipynb has no records of a federation to track",
        ),
        (
            ["--notebook", "5", "--envoys", "4"],
            "ENVOYS: 5_hundreds_of_speakers.ipynb has no such setting; it has CLIENTS, DATA, EPOCHS, MODEL,",
        ),
        (["--notebook", "5", "--partition", "speaker"], "PARTITION: 5_hundreds_of_speakers.ipynb has no "),
        (["--notebook", "5", "--alpha", "0.1"], "ALPHA: 5_hundreds_of_speakers.ipynb has no such setting"),
        (
            ["--track", "tensorboard,board"],
            "TRACK=tensorboard,board: legal values are tensorboard, mlflow, wandb, or several of them with",
        ),
        (["--envoy_count", "2"], "unrecognized arguments: --envoy_count 2"),
    ],
)
def test_a_bad_option_ends_in_one_line_before_anything_starts(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError):
        parse_options(arguments)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"demo: {message}")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["data", "model", "baseline"])
def test_the_home_of_nobody_is_no_folder(option: str) -> None:
    with pytest.raises(OptionError, match=rf"^{option.upper()}=~nobody-of-that-name/x: no such folder"):
        parse_options([f"--{option}=~nobody-of-that-name/x"])
