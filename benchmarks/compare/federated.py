"""The federated regime: experiments, one after another, on a real director and real envoys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from benchmarks.compare import tasks as compare_tasks
from benchmarks.compare.plan import Job
from benchmarks.compare.results import class_accuracies, row
from demo.federation import Federation
from superb_ks.metrics import CLIPS
from superb_ks.model.spec import ModelSpec
from superb_ks.schedule import TEST_BEST, TRAIN, VALIDATE
from superb_ks.settings import Addresses, Settings
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.experiment import FederatedExperiment
from superb_notebook.history import History, history_of
from superb_notebook.personal import personal_models

Cards = Mapping[str, Mapping[str, Any]]


class NotClean(RuntimeError):
    """An envoy dropped out or its update was refused: the figures would not be of what the row says."""


def run(job: Job, federation: Federation) -> dict[str, Any]:
    """Do a run of the federated regime on a federation that is up; returns its row.

    Raises:
        ExperimentFailed: the experiment ended before its end.
        NotClean: not everybody took part from its beginning to its end.
    """
    settings = job.settings(
        addresses=Addresses(
            director_port=federation.director_port, aggregator_port=federation.aggregator_port
        )
    )
    connection = connect(settings)
    cards = shard_cards(connection)
    labels = shared_labels(cards)
    experiment = FederatedExperiment(connection, f"compare-{uuid.uuid4().hex[:12]}")
    spec = ModelSpec.of(settings, labels).sealed()
    garbage_from = job.envoys - job.garbage + 1 if job.garbage else None
    experiment.start(
        model=spec,
        tasks=compare_tasks.comparison_tasks(settings, garbage_from),
        settings=settings,
        shard=compare_tasks.ranked_shard(spec, job.share, job.seed),
    )
    history = history_of(experiment.records(), settings.rounds, list(cards))
    federation.check()
    if history.events:
        raise NotClean("; ".join(history.events))
    return _row(job, settings, labels, cards, history)


def _row(
    job: Job, settings: Settings, labels: tuple[str, ...], cards: Cards, history: History
) -> dict[str, Any]:
    rounds = range(settings.rounds + 1)
    sent = [_sum(history, TRAIN, "bytes_up", number) / len(cards) for number in rounds[:-1]]
    confusion, test = history.confusion(len(labels)), history.test
    if test is None:
        raise NotClean("the best model was not tested")
    trained = sum(_sum(history, TRAIN, "clips", number) for number in rounds[:-1])
    curve = [
        {
            "round": number,
            "validation": _accuracy(history, number),
            "bytes": sum(sent[:number]),
        }
        for number in rounds
    ]
    return row(
        job,
        curve=curve,
        best_round=history.best_round,
        validation_accuracy=curve[history.best_round]["validation"],
        test_accuracy=test.accuracy,
        test_clips=test.clips,
        classes=class_accuracies(confusion, labels),
        clips_seen=round(trained * settings.complete_recipe.epochs_per_round),
        envoy_scores=_envoy_scores(history, cards),
    )


def _sum(history: History, task: str, metric: str, number: int) -> float:
    """Return the sum of what the envoys reported in one of OpenFL's rounds."""
    return sum(history.value(task, metric, number, name) or 0.0 for name in history.envoys)


def _accuracy(history: History, number: int) -> float:
    score = history.score(VALIDATE, number)
    assert score is not None, f"round {number} was not validated"
    return score.accuracy


def _envoy_scores(history: History, cards: Cards) -> dict[str, dict[str, float]]:
    """Return each envoy's clips, and the accuracies on its own test clips of the best model and of the one
    that it keeps in the end: its personal one where its own validation clips gain by it.
    """
    scores, personal = {}, personal_models(history)
    for name in cards:
        own = history.score(TEST_BEST, history.rounds + 1, name)
        assert own is not None, f"{name} has not tested the best model"
        scores[name] = {
            "train_clips": int(history.value(TRAIN, CLIPS, 0, name) or 0),
            "test_clips": own.clips,
            "global": own.accuracy,
        }
        if name in personal and (test := personal[name].test):
            scores[name]["personalised"] = test[personal[name].kept].accuracy
    return scores
