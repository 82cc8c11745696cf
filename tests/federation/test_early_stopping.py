"""Early stopping on a real federation, whose director is killed while it counts."""

import pytest

from superb_ks.settings import EarlyStopping
from superb_notebook.history import history_of
from tests.support.lab import Lab, at, follow
from tests.support.sine_experiment import Script

pytestmark = pytest.mark.federation

ROUNDS, PATIENCE = 30, 4


def test_training_ends_where_it_would_have_without_the_crash(lab: Lab) -> None:
    slowly, name = Script(seconds=dict.fromkeys(lab.ranks, 0.2)), lab.new_name()
    settings = {"rounds": ROUNDS, "early_stopping": EarlyStopping(patience=PATIENCE)}
    experiment = lab.submit(slowly, name=name, **settings)
    lab.crash_director(experiment, at(3, lab.first, "train"))
    outcome = follow(lab.submit(slowly, name=name, resume=True, **settings))
    assert outcome.status == "finished", outcome.error

    pooled = [r for r in outcome.of("validate", "aggregator") if r["metric_name"] == "accuracy"]
    accuracies = [r["metric_value"] for r in pooled]
    best = accuracies.index(max(accuracies))
    assert best < 3 < best + PATIENCE, "the crash did not fall into the count"
    last = best + PATIENCE
    assert outcome.rounds("stopped_early", "aggregator") == [last]
    for name in lab.envoy_names:
        assert outcome.rounds("train", name) == list(range(last + 1))
        assert outcome.rounds("validate", name) == list(range(last + 2))
        assert outcome.rounds("test_best", name) == [last + 2]
    history = history_of(outcome.records, ROUNDS, lab.envoy_names)
    told = f"not exceeded in {PATIENCE} rounds; {last + 1} of {ROUNDS} rounds trained"
    assert history.stopped_early.endswith(told)
    assert history.best_round == best and history.test is not None


def test_a_target_ends_training(lab: Lab) -> None:
    outcome = lab.run(rounds=ROUNDS, early_stopping=EarlyStopping(target=0.8))
    assert outcome.status == "finished", outcome.error
    (told,) = outcome.of("stopped_early", "aggregator")
    reached = [
        r["round"]
        for r in outcome.of("validate", "aggregator")
        if r["metric_name"] == "accuracy" and r["metric_value"] >= 0.8
    ]
    assert told["round"] == min(reached) < ROUNDS - 1
    assert outcome.rounds("test_best", lab.last) == [told["round"] + 2]
