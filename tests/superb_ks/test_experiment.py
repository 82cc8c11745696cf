"""The text of an experiment: what is read of it, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_ks.experiment import Experiment, UnsoundExperiment, digest, own_package
from superb_ks.settings import Addresses, Head, Privacy, Recipe, Settings
from tests.support.experiments import ARGUMENTS, MODEL, TASKS, changed_text, experiment_text

PACKAGE = Path(__file__).resolve().parents[2] / "node" / "superb_ks"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(model="a/b", tuning=Head(), rounds=7, privacy=Privacy(clip_norm=1.0, noise_multiplier=2.0)),
        Settings(recipe=Recipe(epochs_per_round=4), seed=9),
    ],
)
def test_what_is_read_is_what_was_written(settings: Settings) -> None:
    written = Experiment(settings, MODEL, TASKS, ARGUMENTS)
    assert Experiment.read(written.to_bytes()) == written


def test_where_a_notebook_runs_changes_no_digest() -> None:
    here = {
        "addresses": Addresses(director_port=1, aggregator_port=2),
        "experiment_name": "mine",
        "test_data": "/data",
        "runs_dir": "/runs",
    }
    assert digest(experiment_text(**here)) == digest(experiment_text())
    assert digest(experiment_text(seed=1)) != digest(experiment_text())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"settings": {"rounds": 0}}, "Settings.rounds is 0; legal: a whole number from 1"),
        ({"settings": {"strategy": {"name": "mine"}}}, "Settings.strategy is 'mine'; legal: 'fedavg' or"),
        ({"settings": {"plan": "x"}}, "Settings has no field 'plan'"),
        ({"settings": []}, "settings is a list, not a dict"),
        ({"tasks": 3}, "tasks is a int, not a str"),
        ({"tasks": "x = 1\x1b[2J"}, r"hold the control character '\\x1b'"),
        ({"tasks": "x = 1  # \u202e evil"}, r"hold the control character '\\u202e'"),
        ({"tasks": "x = 1\r"}, r"hold the control character '\\r'"),
        ({"model": "os.system"}, "model of the experiment: 'os.system' is no identifier of Python"),
        ({"model": "class"}, "'class' is no identifier"),
        ({"shard": 1}, "shard of the experiment: '1' is no identifier"),
        ({"arguments": {}}, "has the tasks train, validate, test, not"),
        (
            {"arguments": {**ARGUMENTS, "test": {"self": "x"}}},
            "a task takes model, data_loader, .*, not 'self'",
        ),
        (
            {"arguments": {**ARGUMENTS, "test": {"model": "a b"}}},
            "test of the experiment: 'a b' is no identifier",
        ),
        ({"package": {"version": "1"}}, "has a version and a digest, and no more"),
        ({"package": {"version": 1, "digest": "f"}}, "has a version and a digest, and no more"),
        ({"extra": 1}, "has the fields arguments, model, package, settings, shard, tasks, and no others"),
    ],
)
def test_what_is_unsound_is_named(changes: dict, told: str) -> None:
    with pytest.raises(UnsoundExperiment, match=told):
        Experiment.read(changed_text(**changes))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"1", "has the fields"),
        (b'{"a": 1, "a": 2}', "a name occurs twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b" " * (2**20 + 1), "1,048,577 bytes, and 1,048,576 are legal"),
    ],
)
def test_what_is_no_experiment_is_refused(text: bytes, told: str) -> None:
    with pytest.raises(UnsoundExperiment, match=told):
        Experiment.read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(Experiment.__dataclass_fields__)), JSON)
def test_nothing_but_the_one_error_comes_out(field: str, value: object) -> None:
    try:
        read = Experiment.read(json.dumps({**json.loads(experiment_text()), field: value}).encode())
    except UnsoundExperiment:
        return
    assert Experiment.read(read.to_bytes()) == read


def test_another_package_is_told_apart_by_its_sources_and_its_model(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "superb_ks", ignore=shutil.ignore_patterns("__pycache__"))

    def package_there() -> dict[str, str]:
        source = "import json; from superb_ks.experiment import own_package; print(json.dumps(own_package()))"
        found = subprocess.run(
            [sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return json.loads(found.stdout)

    assert package_there() == own_package(), "where it lies does not count"
    seen = {own_package()["digest"]}
    for name in ("training/trainer.py", "tiny/config.json"):
        with (tmp_path / "superb_ks" / name).open("a") as file:
            file.write("\n")
        seen.add(package_there()["digest"])
    assert len(seen) == 3
