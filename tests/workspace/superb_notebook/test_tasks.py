"""The three tasks: those of the package, of the notebook and of Flower's app are the same, or do the same."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, FedProx, Full, Head, Lora, Recipe, Settings
from superb_ks.training.data import ClipDataset
from superb_notebook import tasks as module
from superb_notebook.tasks import tutorial_tasks

WORKSPACE = Path(module.__file__).resolve().parents[1]
NOTEBOOK = WORKSPACE / "PyTorch_Huggingface_transformers_SUPERB.ipynb"
LESSON = WORKSPACE.parent / "flower" / "superb_flower" / "lesson.py"
TASKS = ("train", "validate", "test")


def cells_of_the_tasks() -> list[str]:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return [
        cell.source for cell in cells if cell.cell_type == "code" and "@tasks.register_fl_task" in cell.source
    ]


def tasks_of_the_notebook(settings: Settings) -> dict[str, Any]:
    """Run the cells that define the three tasks, with these settings."""
    names: dict[str, Any] = {"settings": settings, "recipe": settings.complete_recipe}
    for source in cells_of_the_tasks():
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    return {name: names[name] for name in TASKS}


def bodies(source: str) -> dict[str, str]:
    """Return what the three tasks do, by name, without docstrings; and their arguments, without types."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name in TASKS:
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = [ast.dump(line) for line in body]
            found[node.name] = "\n".join([*(argument.arg for argument in node.args.args), *lines])
    return found


def test_the_three_copies_have_the_same_code() -> None:
    """But for the package's `train`, which has what the notebook spells out in `local_trainer`."""
    notebook = bodies("\n".join(cells_of_the_tasks()))
    lesson, package = (bodies(file.read_text(encoding="utf-8")) for file in (LESSON, Path(module.__file__)))
    assert set(notebook) == set(TASKS)
    assert lesson == notebook
    assert package == {**notebook, "train": package["train"]}


def test_they_are_registered_under_the_names_that_the_schedule_knows() -> None:
    assert set(tutorial_tasks(Settings()).task_registry) == {"train", "validate", "test"}
    assert set(tasks_of_the_notebook(Settings())) == {"train", "validate", "test"}


@pytest.mark.parametrize(
    "choices",
    [
        dict(tuning=Full()),
        dict(tuning=Lora(rank=2)),
        dict(tuning=Head(), recipe=Recipe(epochs_per_round=2, batch_size=4)),
        dict(strategy=FedProx(mu=1.0)),
        dict(recipe=Recipe(epochs_per_round=1, speed_change=0.2, learning_rate=0.01), seed=5),
    ],
    ids=lambda choices: "-".join(choices),
)
def test_the_notebooks_train_task_is_the_packages(tone_clips, base_folder: Path, choices: dict[str, Any]):
    settings = Settings(model=str(base_folder), **choices)
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    shard = dict.fromkeys(
        ("train", "val", "test"), ClipDataset(tone_clips([4_000] * 8), spec.feature_extractor())
    )
    trained = []
    written_out = tasks_of_the_notebook(settings)
    packaged = tutorial_tasks(settings).task_registry
    for task in (written_out["train"], packaged["train"]):
        model = spec.build()
        before = pack(model)
        metrics = task(model=model, shard=shard, device="cpu", optimizer=None, round_num=1)
        assert (metrics["clips"], metrics["loss"] > 0) == (8, True)
        assert not np.array_equal(pack(model), before)
        trained.append(pack(model))
    assert np.array_equal(*trained)
    for name in ("validate", "test"):
        scores = [tasks[name](model=model, shard=shard, device="cpu") for tasks in (written_out, packaged)]
        assert scores[0]["loss"] == scores[1]["loss"]
        assert scores[0].keys() == scores[1].keys()
        assert ("confusion" in scores[0]) == (name == "test")  # not in every round, as each cell is a record
        assert np.array_equal(scores[0].get("confusion", 0), scores[1].get("confusion", 0))
