"""Experiments on a real federation: what is averaged, what travels, what is refused."""

import numpy as np
import pytest

from superb_ks.settings import Failures
from superb_notebook.connect import FederationError, connect, shard_cards, shared_labels
from superb_notebook.experiment import attach, list_experiments
from tests.support.lab import Lab, follow
from tests.support.sine_experiment import Script, ballast_after

pytestmark = pytest.mark.federation


def test_two_rounds(lab: Lab) -> None:
    outcome = lab.run(rounds=2)
    assert outcome.status == "finished", outcome.error
    for name in lab.envoy_names:
        assert outcome.rounds("train", name) == [0, 1]
        assert outcome.rounds("validate", name) == [0, 1, 2]
        assert outcome.rounds("test_initial", name) == [0]
        assert outcome.rounds("test_best", name) == [3]
    assert np.isclose(outcome.ballast, ballast_after([[1, 2], [1, 2]]))  # 12 and 24 clips
    pooled = {r["metric_name"]: r["metric_value"] for r in outcome.of("test_best", "aggregator")}
    assert pooled["clips"] == 6 + 12
    assert pooled["accuracy"] > 0.9, "the sine waves were not learnt"


def test_the_same_experiment_twice_is_bit_identical(lab: Lab) -> None:
    first, second = lab.run(rounds=2), lab.run(rounds=2)
    assert np.array_equal(first.weights, second.weights)


def test_the_cards_of_the_shards(lab: Lab) -> None:
    cards = shard_cards(connect(lab.settings()))
    assert list(cards) == lab.envoy_names
    assert [sum(card["clips"]["train"].values()) for card in cards.values()] == [12, 24]
    assert shared_labels(cards) == ("low", "middle", "high")


def test_a_large_object_in_a_task_is_refused(lab: Lab) -> None:
    with pytest.raises(FederationError, match="bytes, and 1,048,576 are legal; does a task hold data"):
        lab.run(Script(raises={7: tuple(range(400_000))}))


def test_too_few_envoys_are_named(lab: Lab) -> None:
    with pytest.raises(FederationError, match=r"2 envoys are online \(env_one, env_two\), min_envoys is 3"):
        lab.run(failures=Failures(min_envoys=3))


def test_envoys_are_chosen_by_name(trio: Lab) -> None:
    first, left_out, last = trio.envoy_names
    name = trio.new_name()
    outcome = trio.run(name=name, rounds=1, envoys=[last, first])
    assert outcome.status == "finished", outcome.error
    assert {r["metric_origin"] for r in outcome.records} == {first, last, "aggregator"}
    assert np.isclose(outcome.ballast, ballast_after([[1, 3]]))
    assert f"Experiment {name} of " in trio.log(first)
    assert f"Experiment {name} of " not in trio.log(left_out), "it was not asked for anything"


def test_an_envoy_that_is_not_online_is_named(trio: Lab) -> None:
    online = ", ".join(sorted(trio.envoy_names))
    with pytest.raises(FederationError, match=f"^envoy phone is not online; online: {online}$"):
        trio.run(envoys=["phone", trio.first])


def test_a_name_is_used_once(lab: Lab) -> None:
    name = lab.new_name()
    assert lab.run(name=name, rounds=1).status == "finished"
    with pytest.raises(FederationError, match=f"'{name}' exists; choose another name"):
        lab.run(name=name, rounds=1)
    with pytest.raises(FederationError, match=f"'{name}' is finished; only failed, stopped, interrupted"):
        lab.run(name=name, rounds=1, resume=True)
    assert list_experiments(connect(lab.settings()))[name] == "finished"


def test_an_unknown_experiment(lab: Lab) -> None:
    with pytest.raises(FederationError, match="no experiment named 'nowhere'"):
        attach(connect(lab.settings()), "nowhere")


def test_an_experiment_can_be_removed_when_it_has_ended(lab: Lab) -> None:
    experiment = lab.submit(Script(seconds=dict.fromkeys(lab.ranks, 0.5)), rounds=50)
    client, name = experiment.federation.dir_client, experiment.experiment_name
    with pytest.raises(Exception, match="stop it first"):
        client.remove_experiment_data(name)
    experiment.stop()
    assert follow(experiment).status == "stopped"
    client.remove_experiment_data(name)
    assert name not in list_experiments(experiment.federation)


def test_two_submissions_wait_for_each_other(lab: Lab) -> None:
    experiments = [lab.submit(rounds=2) for _ in range(2)]
    assert [follow(experiment).status for experiment in experiments] == ["finished"] * 2


def test_each_experiment_runs_its_own_tasks(lab: Lab) -> None:
    for edition in (1, 2):
        outcome = lab.run(Script(edition=edition), rounds=1)
        assert outcome.status == "finished", outcome.error
        assert {r["metric_value"] for r in outcome.of("validate") if r["metric_name"] == "edition"} == {
            edition
        }
