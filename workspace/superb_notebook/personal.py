"""What one more round on each envoy's own clips came to: for tables, plots, lines and `summary.json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from superb_ks.metrics import CLIPS, FEDERATED, KEPT, ON_TEST, PERSONAL
from superb_ks.schedule import CLOSING_ROUNDS, PERSONALISE
from superb_notebook.history import History, Score

Pair = tuple[Score, Score]
"""Scores of two models on the same clips: the federated one, and another one."""


@dataclass(frozen=True)
class Personal:
    """One envoy's choice between the federated model and its personal one.

    Attributes:
        kept: the envoy keeps its personal model.
        validation: federated and personal model on its validation clips; None if it has none.
        test: the same on its test clips, which had no part in the choice.
    """

    kept: bool
    validation: Pair | None
    test: Pair | None


def personal_models(history: History) -> dict[str, Personal]:
    """Return the choice of each envoy that has reported one, by its name."""
    number = history.rounds + CLOSING_ROUNDS
    kept = {name: history.value(PERSONALISE, KEPT, number, name) for name in history.envoys}
    return {
        name: Personal(value >= 0.5, _pair(history, number, name, ""), _pair(history, number, name, ON_TEST))
        for name, value in kept.items()
        if value is not None
    }


def _pair(history: History, number: int, name: str, prefix: str) -> Pair | None:
    clips, *accuracies = (
        history.value(PERSONALISE, f"{prefix}{metric}", number, name)
        for metric in (CLIPS, FEDERATED, PERSONAL)
    )
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if clips is None or clips < 1 or len(known) < 2:
        return None
    before, after = (Score(round(accuracy * clips), round(clips)) for accuracy in known)
    return before, after


def pooled_pair(personal: Iterable[Personal], split: str) -> Pair | None:
    """Return what the federated model scores on the clips of all, and what the models score that each keeps.

    Args:
        personal: the envoys' choices.
        split: "validation" or "test".
    """
    pairs = [(each.kept, pair) for each in personal if (pair := getattr(each, split)) is not None]
    if not pairs:
        return None
    clips = sum(before.clips for _, (before, _) in pairs)
    before, after = sum(pair[0].correct for _, pair in pairs), sum(pair[kept].correct for kept, pair in pairs)
    return Score(before, clips), Score(after, clips)


def personal_cells(personal: Personal | None) -> list[str]:
    """Return the cells test accuracy of the personal model, both models on validation clips, kept or not."""
    if personal is None:
        return ["–", "–", "–"]
    test = "–" if personal.test is None else f"{personal.test[1].accuracy:.1%}"
    own = "no clips"
    if personal.validation is not None:
        before, after = personal.validation
        own = f"{before.accuracy:.1%} → {after.accuracy:.1%} of {before.clips:,}"
    return [test, own, "yes" if personal.kept else "no"]


def personal_in_words(history: History) -> str:
    """Return in a line what the personalising round came to, once it is closed; empty before."""
    closed = history.value("round", "seconds", history.rounds + CLOSING_ROUNDS) is not None
    personal = personal_models(history) if closed else {}
    if not personal:
        return ""
    kept = sum(each.kept for each in personal.values())
    tests = pooled_pair(personal.values(), "test")
    told = (
        f"; test accuracy {tests[0]} before, {tests[1]} with the models that they have now" if tests else ""
    )
    return f"Personal models: {kept} of {len(personal)} envoys keep theirs{told}"


def summarize_personal(history: History) -> dict[str, Any] | None:
    """Return the same as numbers, of each envoy and of all; None if the experiment did not personalise."""
    personal = personal_models(history)
    if not personal:
        return None
    tests = pooled_pair(personal.values(), "test")
    return {
        "kept": sum(each.kept for each in personal.values()),
        "test_accuracy_before": tests and tests[0].accuracy,
        "test_accuracy_after": tests and tests[1].accuracy,
        "envoys": {
            name: {"kept": each.kept, "validation": _numbers(each.validation), "test": _numbers(each.test)}
            for name, each in personal.items()
        },
    }


def _numbers(pair: Pair | None) -> dict[str, float] | None:
    if pair is None:
        return None
    before, after = pair
    return {"clips": before.clips, "federated": before.accuracy, "personal": after.accuracy}
