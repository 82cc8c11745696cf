"""The model card of a run: README.md in the saved model's folder, as the Hugging Face hub reads it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from superb_ks.recipe import SCRATCH, TINY, is_hub_id
from superb_ks.settings import Settings
from superb_node.text import printable
from superb_node.work_folder import replace_file
from superb_notebook.history import History

CARD = "README.md"
_PACKAGES = {"openfl": "openfl", "flower": "flwr"}
TEMPLATE = Path(__file__).with_suffix(".md")

Cards = Mapping[str, Mapping[str, Any]]

_SOURCES = {
    "synthetic": "synthetic speech of eSpeak NG",
    "archives": "archives of Speech Commands",
    "folder": "the owners' folders of recordings",
    "hub": "a data set of the Hugging Face hub",
}


def write_card(
    folder: Path, settings: Settings, cards: Cards, history: History, summary: Mapping[str, Any]
) -> None:
    """Write the card of a saved model; one that is there gives way.

    Args:
        folder: the model's.
        settings: of the experiment that made it.
        cards: the shard cards of its envoys.
        history: all its records, of a finished experiment.
        summary: what `superb_notebook.summary.summarize` made of them.
    """
    data = card_data(settings, summary)
    card = ModelCard.from_template(
        data, template_path=str(TEMPLATE), **_words(settings, cards, history, summary)
    )
    replace_file(folder / CARD, f"{card}\n".encode())


def card_data(settings: Settings, summary: Mapping[str, Any]) -> ModelCardData:
    """Return what the hub sorts and ranks by; a licence only where this project knows it."""
    own = settings.model in (TINY, SCRATCH)
    result = EvalResult(
        task_type="audio-classification",
        task_name="Keyword spotting",
        dataset_type=summary["data"],
        dataset_name=_sources(summary),
        dataset_split="test",
        metric_type="accuracy",
        metric_name=f"Accuracy on {summary['test_clips']:,} clips",
        metric_value=summary["test_accuracy"],
    )
    return ModelCardData(
        model_name=f"{summary['model'].rpartition('/')[2]}-keyword-spotting",
        library_name="transformers",
        pipeline_tag="audio-classification",
        license="apache-2.0" if own else None,
        base_model=settings.model if is_hub_id(settings.model) else None,
        tags=["federated-learning", "keyword-spotting", settings.engine],
        eval_results=[result],
    )


def _words(settings: Settings, cards: Cards, history: History, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template says beside the metadata."""
    labels = next(iter(cards.values()))["labels"]
    clips = sum(sum(card["clips"]["train"].values()) for card in cards.values())
    packages = (_PACKAGES[settings.engine], "superb-node", "torch", "transformers")
    return {
        "labels": ", ".join(f"`{printable(label)}`" for label in labels),
        "n_labels": len(labels),
        "envoys": "1 owner" if summary["envoys"] == 1 else f"{summary['envoys']} owners",
        "model": summary["model"],
        "data": _sources(summary),
        "partition": summary["partition"],
        "clips": f"{clips:,}",
        "rounds": len(summary["rounds"]),
        "recipe": settings.complete_recipe,
        "strategy": settings.strategy,
        "tuning": settings.tuning,
        "privacy": _privacy(settings, history),
        "seed": settings.seed,
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
        ),
        "test_clips": f"{summary['test_clips']:,}",
        "accuracy": summary["test_accuracy"],
        "initial_accuracy": summary["initial_test_accuracy"],
        "licence": _licence(settings, summary),
    }


def _sources(summary: Mapping[str, Any]) -> str:
    return ", ".join(_SOURCES.get(name, name) for name in summary["data"].split(", "))


def _privacy(settings: Settings, history: History) -> str:
    spent = history.epsilon(history.rounds)
    if settings.privacy is None or spent is None:
        return "none"
    return f"epsilon {spent:.3g} for each owner (`{settings.privacy}`)"


def _licence(settings: Settings, summary: Mapping[str, Any]) -> str:
    if settings.model in (TINY, SCRATCH):
        return "Apache 2.0."
    return (
        f"The licence of `{summary['model']}` holds for this model, too. "
        "Add it to the metadata above (`license:`) before you publish."
    )
