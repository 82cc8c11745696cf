"""The second experiment is the notebook's, with other settings; the federated run is in test_tutorial."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from superb_ks.recipe import RECIPES
from superb_ks.settings import (
    FedAvg,
    FedMedian,
    Full,
    Head,
    Lora,
    Privacy,
    Recipe,
    Settings,
    TrimmedMean,
    Tuning,
)
from superb_notebook import baseline
from superb_notebook.baseline import baseline_settings, notebook_tasks, private_settings

NOTEBOOK = Path(baseline.__file__).resolve().parents[1] / "PyTorch_Huggingface_transformers_SUPERB.ipynb"


def test_a_baseline_is_trained_whole_in_as_many_rounds_under_a_name_of_its_own() -> None:
    settings = Settings(tuning=Head(), strategy=FedMedian(), rounds=7, seed=3, experiment_name="mine")
    beside = baseline_settings(settings, "scratch")
    assert (beside.model, beside.tuning, beside.experiment_name) == ("scratch", Full(), None)
    assert (beside.strategy, beside.rounds, beside.seed) == (FedMedian(), 7, 3)


CHOSEN = Recipe(learning_rate=0.5, batch_size=3, warmup_fraction=0.3, weight_decay=0.2)


@pytest.mark.parametrize(
    ("tuning", "changes"),
    [
        (Head(), dict(epochs_per_round=50)),
        (Lora(rank=2, alpha=3.0), dict(epochs_per_round=50, mask_time_prob=0.1)),
        (Full(), dict(speed_change=0.4, shift_seconds=0.1)),
    ],
)
def test_a_baseline_has_the_recipe_of_its_own_model(tuning: Tuning, changes: dict[str, Any]) -> None:
    beside = baseline_settings(Settings(tuning=tuning, recipe=replace(CHOSEN, **changes)), "scratch")
    assert beside.complete_recipe == RECIPES["scratch"]


def test_a_baseline_hears_each_clip_as_often_as_a_model_that_is_trained_whole() -> None:
    beside = baseline_settings(Settings(recipe=replace(CHOSEN, epochs_per_round=7)), "scratch")
    assert beside.complete_recipe == replace(RECIPES["scratch"], epochs_per_round=7)


def test_a_baseline_keeps_the_strategys_parameters() -> None:
    settings = Settings(strategy=TrimmedMean(fraction=0.3), fraction=0.5, precision="float32")
    beside = baseline_settings(settings, "scratch")
    assert beside.strategy == TrimmedMean(fraction=0.3)
    assert (beside.fraction, beside.precision) == (0.5, "float32")


def test_a_private_experiment_tunes_a_head_by_plain_averaging_whatever_the_first_one_does() -> None:
    settings = Settings(strategy=TrimmedMean(), rounds=7, recipe=Recipe(speed_change=0.4), seed=3)
    private = private_settings(settings, 2.0, 0.5)
    assert private.privacy == Privacy(clip_norm=2.0, noise_multiplier=0.5, delta=1e-5)
    assert (private.tuning, private.strategy, private.rounds, private.seed) == (Head(), FedAvg(), 7, 3)
    assert private.complete_recipe == Settings(tuning=Head()).complete_recipe
    assert private.experiment_name is not None and private.experiment_name.startswith("private-")
    assert private_settings(Settings(model="scratch"), 2.0, 0.5).tuning == Full()


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
