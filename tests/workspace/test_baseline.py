"""The second experiment is the notebook's, with other settings; the federated run is in test_tutorial."""

import ast
from pathlib import Path

import nbformat

from superb_ks import baseline
from superb_ks.baseline import baseline_settings, notebook_tasks
from superb_ks.settings import Settings

NOTEBOOK = Path(baseline.__file__).resolve().parents[1] / "PyTorch_Huggingface_transformers_SUPERB.ipynb"


def test_a_baseline_is_trained_whole_in_as_many_rounds_under_a_name_of_its_own() -> None:
    settings = Settings(tuning="head", strategy="median", rounds=7, seed=3, experiment_name="mine")
    beside = baseline_settings(settings, "scratch")
    assert (beside.model, beside.tuning, beside.experiment_name) == ("scratch", "full", None)
    assert (beside.strategy, beside.rounds, beside.seed) == ("median", 7, 3)


def tasks_in(source: str) -> dict[str, ast.FunctionDef]:
    found = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    return {name: found[name] for name in ("train", "validate", "test") if name in found}


def calls_in(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Call)]


def test_its_tasks_do_what_the_notebooks_do() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    in_notebook = tasks_in("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    here = tasks_in(Path(baseline.__file__).read_text(encoding="utf-8"))
    assert set(in_notebook) == set(here) == {"train", "validate", "test"}
    for name, function in here.items():
        wanted = {call for call in calls_in(in_notebook[name]) if "register" not in call}
        # In the notebook the trainer has a name of its own.
        given = {call.replace("trainer.train()", "") for call in calls_in(function)}
        for call in wanted - {"trainer.train()"}:
            assert call in given, f"{name} of the notebook calls {call}"


def test_they_are_registered_under_the_names_that_the_schedule_knows() -> None:
    assert set(notebook_tasks(Settings()).task_registry) == {"train", "validate", "test"}
