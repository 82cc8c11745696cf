"""Rounds as the aggregator keeps them, without a network: calls as OpenFL's service makes them."""

import json
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfl.protocols import aggregator_pb2

from superb_ks.aggregator import model_file
from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.uploads import Results
from superb_ks.metrics import MAX_LETTERS, MAX_RECORDS
from superb_ks.settings import STRATEGIES, Privacy, strategy_named
from superb_ks.transport import messages
from superb_ks.transport import parts as transport_parts
from superb_ks.transport.parts import part_name
from superb_notebook.history import Score, history_of
from superb_notebook.tables import confusions_in_words, envoys_table, results_table
from tests.support.aggregator import aggregator_on, new_state_folder
from tests.support.any_metrics import ANY_METRICS
from tests.support.lab import wait_until

SIZE = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_folder(tmp_path)


def made_folder(tmp_path: Path) -> Path:
    return new_state_folder(tmp_path, SIZE)


@pytest.fixture
def start(folder: Path, openfl_put_back: None):
    """Return what makes an aggregator on the folder, as the director does."""
    made = []

    def make(names: str = "ab", rounds: int = 2, at: Path = folder, **changes) -> Aggregator:
        aggregator = aggregator_on(at, list(names), rounds, **changes)
        made.append(aggregator)
        return aggregator

    yield make
    for aggregator in made:
        aggregator.stop(reason="the test is over")
        aggregator.state.close()


def report(aggregator: Aggregator, name: str, task: str, weights: float | None = None, **metrics) -> None:
    arrays = {key: np.asarray(value, np.float64) for key, value in metrics.items()}
    vector = None if weights is None else np.full(SIZE, weights, np.float32)
    clips = 10 * (1 + ord(name) - ord("a"))
    aggregator.send_local_task_results(name, aggregator.round_number, task, clips, Results(arrays, vector))


def work(aggregator: Aggregator, name: str, weights: float = 1.0, accuracy: float = 0.5) -> None:
    """Do what `name` is asked to in the current round."""
    tasks, _, _, _ = aggregator.get_tasks(name)
    for task in tasks or []:
        trains = task.task_type == "train"
        report(aggregator, name, task.name, weights if trains else None, accuracy=accuracy, loss=1.0)


def texts(aggregator: Aggregator, task: str) -> list[str]:
    return [record["metric_name"] for record in aggregator.records if record["task_name"] == task]


def test_a_round_by_hand(start):
    aggregator = start()
    work(aggregator, "a", weights=1)
    assert aggregator.round_number == 0
    work(aggregator, "b", weights=4)
    assert aggregator.round_number == 1
    assert aggregator.state.last.read().tolist() == [3.0] * SIZE  # (10 · 1 + 20 · 4) / 30


def test_an_update_weighs_no_more_than_the_shard_card_counts_clips(start):
    aggregator = start(clip_limits={"a": {"train": 10}, "b": {"train": 5}})
    work(aggregator, "a", weights=1)
    work(aggregator, "b", weights=4)  # claims 20 clips
    assert aggregator.state.last.read().tolist() == [2.0] * SIZE  # (10 · 1 + 5 · 4) / 15
    assert texts(aggregator, "capped") == ["claims 20 clips, its shard card counts 5"]
    claims = [
        r["metric_value"]
        for r in aggregator.records
        if (r["task_name"], r["metric_name"]) == ("train", "clips")
    ]
    assert claims == [10, 5, 15]


def test_the_best_model_is_the_one_with_the_highest_validation(start):
    """The last aggregate is eligible, an equal score does not replace an earlier one, no score never wins."""
    aggregator = start("a", rounds=4)
    for accuracy, weights in ((float("nan"), 1), (0.3, 2), (0.9, 3), (0.9, 4), (0.2, 5)):
        work(aggregator, "a", weights=weights, accuracy=accuracy)
    assert aggregator.state.manifest["best_round"] == 2
    assert aggregator.state.best.read().tolist() == [2.0] * SIZE
    (part,) = aggregator.parts(part_name(0), aggregator.round_number, messages.BEST)
    assert np.frombuffer(part, np.float32).tolist() == [2.0] * SIZE


def test_what_openfl_goes_on_holding_after_the_end_holds_no_model(start):
    aggregator = start("a", rounds=2)
    work(aggregator, "a")
    uploads = aggregator._uploads
    assert [vector.size for vector in uploads._spare] == [SIZE]
    for _ in range(3):
        work(aggregator, "a")
    assert aggregator.get_tasks("a")[3], "time to quit"
    assert uploads._spare == []


def test_loss_does_not_drive_best(start):
    """OpenFL's own takes any validation metric for the one that decides, and a high loss for good."""
    aggregator = start("a", rounds=2)
    for loss, accuracy in ((9.0, 0.1), (5.0, 0.5), (1.0, 0.9)):
        tasks, _, _, _ = aggregator.get_tasks("a")
        for task in tasks:
            weights = 1.0 if task.task_type == "train" else None
            report(aggregator, "a", task.name, weights, loss=loss, accuracy=accuracy)
    assert aggregator.state.manifest["best_round"] == 2


def test_a_metric_that_is_not_there_ends_the_experiment(start):
    aggregator = start("a")
    report(aggregator, "a", "validate", f1=0.5, loss=1.0)
    report(aggregator, "a", "test_initial", f1=0.5)
    report(aggregator, "a", "train", 1.0)
    assert "validate returned no 'accuracy', only clips, f1, loss" in aggregator.failure


def test_metrics_that_do_not_fit_together_are_not_pooled(start):
    aggregator = start("ab")
    for name, size in (("a", 2), ("b", 3)):
        for task in ("validate", "test_initial"):
            report(aggregator, name, task, accuracy=0.5, confusion=np.zeros((size, size)))
        report(aggregator, name, "train", 1.0, loss=1.0)
    assert aggregator.round_number == 1
    names = {r["metric_name"] for r in aggregator.records if r["metric_origin"] == "aggregator"}
    assert {"accuracy", "loss"} <= names and not any("confusion" in name for name in names)


def after_the_test_of_the_best(start, **changes) -> Aggregator:
    aggregator = start("ab", rounds=1, personalise=True, **changes)
    for _ in range(3):
        work(aggregator, "a")
        work(aggregator, "b")
    assert [task.name for task in aggregator.get_tasks("a")[0]] == ["personalise"]
    return aggregator


@pytest.mark.parametrize("leave", ["fails", "drops", "both drop", "is too late"])
def test_whoever_is_missing_when_each_personalises_the_experiment_is_done(start, leave):
    late = {"round_timeout_seconds": 2.0} if leave == "is too late" else {}
    aggregator = after_the_test_of_the_best(start, min_envoys=2, **late)
    if leave == "fails":
        aggregator.task_failed("b", "no luck")
    elif leave != "is too late":
        aggregator.drop("b", "no heartbeat")
    assert not aggregator.is_over
    if leave == "both drop":
        aggregator.drop("a", "no heartbeat")
    else:
        report(aggregator, "a", "personalise", kept=1.0, federated=0.5, personal=0.75)
    if late:
        wait_until(lambda: aggregator.is_over, 10)
    assert (aggregator.is_over, aggregator.failure) == (True, None)
    told = {r["metric_origin"] for r in aggregator.records if r["task_name"] == "personalise"}
    assert told == (set() if leave == "both drop" else {"a"})


def test_what_is_told_of_a_personal_model_keeps_to_the_schema_and_to_the_shard_card(start):
    limits = {"train": 20, "val": 12, "test": 7}
    aggregator = after_the_test_of_the_best(start, clip_limits={"b": limits})
    report(aggregator, "a", "personalise", kept=1.0, federated=0.5, personal=0.75, test_clips=1e9)
    report(
        aggregator, "b", "personalise",
        kept=1.0, federated=-1.0, personal=7.0, test_clips=1e9, test_federated=0.5, test_personal=1.0,
    )  # fmt: skip
    told = {
        name: {
            r["metric_name"]: r["metric_value"]
            for r in aggregator.records
            if (r["task_name"], r["metric_origin"]) == ("personalise", name)
        }
        for name in "ab"
    }
    assert told["a"] == {"clips": 10, "kept": 1, "federated": 0.5, "personal": 0.75, "test_clips": 1e9}
    assert told["b"] == {"clips": 12, "kept": 1, "test_clips": 7, "test_federated": 0.5, "test_personal": 1}
    assert texts(aggregator, "ignored") == [
        "personalise: federated is -1; legal: a number from 0 to 1; and 1 more"
    ]
    assert texts(aggregator, "capped") == [
        "claims 20 validation clips, its shard card counts 12",
        "claims 1,000,000,000 test clips, its shard card counts 7",
    ]
    assert aggregator.is_over and aggregator.failure is None


def test_an_experiment_that_was_interrupted_before_it_personalised_does_that_when_it_is_resumed(start):
    after_the_test_of_the_best(start).stop(reason="a power cut")
    resumed = start("ab", rounds=1, personalise=True)
    assert [task.name for task in resumed.get_tasks("a")[0]] == ["personalise"]
    best = resumed.state.best.read().tolist()
    for name in "ab":
        report(resumed, name, "personalise", kept=1.0)
    assert resumed.is_over and resumed.state.best.read().tolist() == best


def test_a_drop_out_is_left_out_and_the_rest_renormalised(start):
    aggregator = start("abc")
    work(aggregator, "a", weights=1)
    aggregator.drop("b", "gone")
    work(aggregator, "c", weights=5)
    assert aggregator.round_number == 1
    assert aggregator.state.last.read().tolist() == [4.0] * SIZE  # (10 · 1 + 30 · 5) / 40
    assert texts(aggregator, "dropped") == ["gone"]
    aggregator.get_tasks("b")  # it is back, and takes part from the next round on
    work(aggregator, "a")
    assert aggregator.round_number == 1
    work(aggregator, "c")
    assert aggregator.members.present == {"a", "b", "c"}
    assert texts(aggregator, "returned") == ["from round 2 on"]


def test_a_drop_out_wakes_who_waits_for_room(start):
    aggregator = start("abcd")
    for name in "bc":
        work(aggregator, name)
    with aggregator._changed:
        assert not aggregator._uploads.may_send("d")
    woken = threading.Event()

    def wait() -> None:
        with aggregator._changed:
            aggregator._changed.wait_for(lambda: aggregator._uploads.may_send("d"), timeout=20)
            woken.set() if aggregator._uploads.may_send("d") else None

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not aggregator._changed._waiters:
        pass
    aggregator.drop("a", "dead")
    assert woken.wait(5), "nobody told it"
    waiting.join()


def test_fewer_than_the_minimum_fails_by_name_and_keeps_the_aggregate(start):
    aggregator = start("ab", min_envoys=2)
    work(aggregator, "a", weights=1)
    work(aggregator, "b", weights=1)
    aggregator.drop("b", "did not report")
    assert aggregator.failure == "director: a left, min_envoys is 2; did not report"
    assert aggregator.state.last.read().tolist() == [1.0] * SIZE
    assert aggregator.get_tasks("a")[3], "time to quit"


def test_the_cut_off_closes_a_round(start):
    aggregator = start("ab", round_timeout_seconds=0.3)
    work(aggregator, "a", weights=2)
    with aggregator._changed:
        assert aggregator._changed.wait_for(lambda: aggregator.round_number == 1, timeout=10)
    assert texts(aggregator, "dropped") == ["did not report within 0.3 s"]
    aggregator.send_local_task_results("b", 0, "train", 10, Results({}, np.ones(SIZE, np.float32)))
    assert texts(aggregator, "late") == ["train of round 0"]
    assert aggregator.state.last.read().tolist() == [2.0] * SIZE


def waiting_upload(aggregator: Aggregator, name: str, weights: float) -> threading.Thread:
    """Start an upload as OpenFL's service takes it in; returns once it waits for its turn, or is read."""
    head = aggregator_pb2.TaskResults(task_name="train", round_number=aggregator.round_number, data_size=10)
    head.header.sender = name
    first, *chunks = messages.upload(head, np.full(SIZE, weights, np.float32))
    head = aggregator_pb2.TaskResults.FromString(first)

    def upload() -> None:
        results = aggregator.receive(head, chunks)
        aggregator.send_local_task_results(name, head.round_number, head.task_name, head.data_size, results)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    with aggregator._changed:
        assert aggregator._changed.wait_for(lambda: name in aggregator._uploads.under_way, timeout=10)
    return thread


def test_the_cut_off_does_not_hit_who_waits_for_its_turn_behind_a_straggler(start):
    aggregator = start("abc", round_timeout_seconds=1.0)
    for name in "abc":
        for task in ("validate", "test_initial"):
            report(aggregator, name, task, accuracy=0.5, loss=1.0)
    waiting = waiting_upload(aggregator, "c", weights=5)
    report(aggregator, "a", "train", 2.0, loss=1.0)
    waiting.join(10)
    assert aggregator.round_number == 1
    assert texts(aggregator, "dropped") == ["did not report within 1 s"]
    assert aggregator.state.last.read().tolist() == [3.5] * SIZE  # (10 · 2 + 10 · 5) / 20


def test_an_upload_that_does_not_come_to_its_end_is_cut_off_later(start):
    aggregator = start("ab", round_timeout_seconds=0.5)
    work(aggregator, "a", weights=2)
    for task in ("validate", "test_initial"):
        report(aggregator, "b", task, accuracy=0.5, loss=1.0)
    aggregator._uploads._receiving.add("b")  # its first bytes are here, and no more come
    with aggregator._changed:
        assert aggregator._changed.wait_for(lambda: aggregator.round_number == 1, timeout=10)
    assert texts(aggregator, "dropped") == ["did not upload within 0.5 s"]


@pytest.mark.parametrize("on_error", ["fail", "continue"])
def test_a_failed_collaborator_is_not_invited_again(start, on_error):
    """The director asks `quit_job_sent_to` whether an envoy has work to do."""
    aggregator = start("ab", on_task_error=on_error)
    aggregator.task_failed("b", "Traceback: no luck")
    assert "b" in aggregator.quit_job_sent_to
    assert (aggregator.failure is None) == (on_error == "continue")
    told = texts(aggregator, "failure") + texts(aggregator, "dropped")
    assert told == ["Traceback: no luck"]


def test_all_updates_refused_ends_the_experiment(start):
    aggregator = start("a")
    work(aggregator, "a", weights=float("nan"))
    assert "no collaborator sent an update that could be averaged" in aggregator.failure
    assert texts(aggregator, "refused") == ["a sent 4 values that are not finite (NaN or infinity)"]


def test_resumes_from_the_last_complete_round(start):
    whole = start("ab", rounds=3)
    for number in range(3):
        for name in "ab":
            work(whole, name, weights=number + ord(name) % 7)
    final = whole.state.last.read()
    whole.state.close()

    resumed = start("ab", rounds=5)
    assert resumed.round_number == 3
    assert np.array_equal(resumed.state.last.read(), final)
    assert {record["round"] for record in resumed.records} == {0, 1, 2}


@pytest.mark.parametrize("accuracy_then", [0.8, 0.6])
def test_resumed_between_the_mark_of_the_best_and_the_next_model(start, monkeypatch, accuracy_then):
    """The round's model is the best on the disk already; the round that is run again says so once more."""
    whole = start("a", rounds=3)
    work(whole, "a", accuracy=0.5)

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(whole.state, "publish", full)
    work(whole, "a", weights=2, accuracy=0.8)
    assert "the disk is full" in whole.failure
    whole.state.close()

    resumed = start("a", rounds=3)
    assert resumed.round_number == 1
    work(resumed, "a", weights=2, accuracy=accuracy_then)
    best = [record for record in resumed.records if record["task_name"] == "best"]
    assert [(each["round"], each["metric_value"]) for each in best] == [(0, 0.5), (1, accuracy_then)]
    assert resumed.state.best.read().tolist() == [1.0] * SIZE


def test_a_part_of_another_round_is_empty(start):
    aggregator = start("a")
    assert list(aggregator.parts(part_name(0), 5, messages.CURRENT)) == [b""]


def test_a_model_comes_part_by_part_until_its_round_is_over(start, monkeypatch):
    for module in (transport_parts, model_file):
        monkeypatch.setattr(module, "PART_BYTES", 4)  # one weight a part
    aggregator = start("a", rounds=3)
    parts = aggregator.parts(part_name(1), 0, messages.CURRENT)
    assert len(next(parts)) == 4
    assert len(list(aggregator.parts(part_name(1), 0, messages.CURRENT))) == SIZE - 1
    work(aggregator, "a")
    assert list(parts) == [b""]
    with pytest.raises(ValueError, match="no part"):
        list(aggregator.parts(part_name(SIZE), 1, messages.CURRENT))


def test_a_strategy_by_its_name(start):
    """One of three sends garbage: the average follows it, median and trimmed mean do not."""
    aggregator = start("abc", strategy=strategy_named("median"))
    for name, weights in (("c", 3.0), ("b", 1e11), ("a", 1.0)):
        work(aggregator, name, weights=weights)
    assert aggregator.state.last.read().tolist() == [3.0] * SIZE
    assert not aggregator.state.updates_folder.exists()


def train_rounds(aggregator: Aggregator, numbers: range, names: str = "cab") -> None:
    """Let `names` train in rounds, each to other weights, the same in every run."""
    for number in numbers:
        for name in names:
            work(aggregator, name, weights=float(np.sin(7 * number + ord(name))))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_resumed_with_any_strategy_the_model_is_bit_identical(start, tmp_path, strategy):
    settings = {"strategy": strategy_named(strategy)}
    whole = start("abc", rounds=4, at=made_folder(tmp_path / "whole"), **settings)
    train_rounds(whole, range(4))
    interrupted = start("abc", rounds=4, at=made_folder(tmp_path / "interrupted"), **settings)
    train_rounds(interrupted, range(2))
    work(interrupted, "b", weights=5.0)  # the round that is lost
    interrupted.state.close()
    resumed = start("abc", rounds=4, at=tmp_path / "interrupted", **settings)
    assert resumed.round_number == 2
    train_rounds(resumed, range(2, 4))
    assert resumed.round_number == 4
    assert np.array_equal(resumed.state.last.read(), whole.state.last.read())
    models = sorted(path.name for path in (tmp_path / "interrupted").glob("*.moments.safetensors"))
    assert models == (["round-4.moments.safetensors"] if strategy in ("fedadam", "fedyogi") else [])


PRIVATE = Privacy(clip_norm=2.0, noise_multiplier=1e-9)  # noise that cannot be seen


def test_a_private_round_by_hand(start):
    """From 0: changes of length 2 and 8, the second clipped to 2; both count the same, 10 and 20 clips."""
    aggregator = start(privacy=PRIVATE)
    work(aggregator, "a", weights=1)
    work(aggregator, "b", weights=4)
    np.testing.assert_allclose(aggregator.state.last.read(), [1.0] * SIZE, rtol=1e-6)  # (1 + 1) / 2
    told = {r["metric_name"]: r["metric_value"] for r in aggregator.records if r["task_name"] == "privacy"}
    assert told["clipped"] == 1
    assert told["epsilon"] > 0


@pytest.mark.parametrize("strategy", [name for name, kind in STRATEGIES.items() if kind.averages])
def test_private_rounds_lead_where_the_mean_of_the_clipped_changes_leads(start, tmp_path, strategy):
    settings = {"strategy": strategy_named(strategy)}
    private = start("abc", at=made_folder(tmp_path / "private"), privacy=PRIVATE, **settings)
    expected = start("abc", at=made_folder(tmp_path / "expected"), **settings)
    longest = PRIVATE.clip_norm / np.sqrt(SIZE)  # of a change that is the same in every weight
    for number in range(2):
        before = float(private.state.last.read()[0])
        changes = {name: 2.0 ** (number - ord(name) + ord("b")) for name in "abc"}
        mean = np.mean([min(change, longest) for change in changes.values()])
        for name, change in changes.items():
            work(private, name, weights=before + change)
            work(expected, name, weights=before + mean)
    np.testing.assert_allclose(private.state.last.read(), expected.state.last.read(), rtol=1e-4)
    assert private.round_number == 2


@pytest.mark.parametrize("strategy", ["median", "trimmed_mean"])
def test_a_strategy_without_bounded_sensitivity_is_refused(start, strategy):
    with pytest.raises(
        ValueError, match=r"^Settings.strategy is .*; legal: FedAvg\(...\) or .* with privacy$"
    ):
        start(strategy=strategy_named(strategy), privacy=PRIVATE)


def test_a_resumed_experiment_goes_on_with_what_is_spent(start, folder):
    first = start("ab", rounds=4, privacy=replace(PRIVATE, noise_multiplier=2.0))
    train_rounds(first, range(2), "ab")
    first.state.close()
    second = start("ab", rounds=4, privacy=replace(PRIVATE, noise_multiplier=2.0))
    train_rounds(second, range(2, 4), "ab")
    told = [r["metric_value"] for r in second.records if r["metric_name"] == "epsilon"]
    assert len(told) == 4
    assert told == sorted(told) and told[0] < told[3] < 4 * told[0]


def test_a_round_that_nobody_was_left_in_spends_nothing(start):
    aggregator = start("abcd", rounds=2, fraction=0.25, seed=3, privacy=PRIVATE)
    drawn = trainers(aggregator, "abcd")
    aggregator.drop(drawn, "gone")
    for name in "abcd".replace(drawn, ""):
        work(aggregator, name)
    assert aggregator.round_number == 1
    assert texts(aggregator, "unchanged") and not texts(aggregator, "privacy")


def test_another_strategy_does_not_inherit_moments(start, folder):
    first = start("abc", rounds=6, strategy=strategy_named("fedadam"))
    train_rounds(first, range(2))
    first.state.close()
    assert (folder / "round-2.moments.safetensors").is_file()
    second = start("abc", rounds=6)
    train_rounds(second, range(2, 3))
    second.state.close()
    assert not list(folder.glob("*.moments.safetensors"))
    assert second.state.moments("fedadam") is None


def test_an_update_that_cannot_be_kept_ends_the_experiment(start, folder):
    aggregator = start("abc", strategy=strategy_named("median"))
    (folder / "updates").write_text("in the way")
    work(aggregator, "a")
    assert aggregator.failure.startswith("director: the update of a cannot be kept: ")


def trainers(aggregator: Aggregator, names: str) -> str:
    """Return who is asked to train in the current round."""
    tasks = {name: aggregator.get_tasks(name)[0] or [] for name in names}
    return "".join(name for name in names if any(task.name == "train" for task in tasks[name]))


def test_a_fraction_trains_and_the_average_waits_for_no_other(start):
    aggregator = start("abcd", rounds=4, fraction=0.5, seed=3)
    for number in range(4):
        drawn = trainers(aggregator, "abcd")
        assert len(drawn) == 2
        for name in "dcba":
            work(aggregator, name, weights=ord(name))
        assert aggregator.round_number == number + 1, aggregator.failure
        first, second = ((10 * (1 + ord(name) - ord("a")), ord(name)) for name in drawn)
        mean = (first[0] * first[1] + second[0] * second[1]) / (first[0] + second[0])
        np.testing.assert_allclose(aggregator.state.last.read(), mean, rtol=1e-6)
    reported: dict[int, set[str]] = {r["round"]: set() for r in aggregator.records}
    for record in aggregator.records:
        if record["task_name"] == "validate":
            reported[record["round"]].add(record["metric_origin"])
    assert all(names == {*"abcd", "aggregator"} for names in reported.values())


def test_who_was_not_asked_to_train_is_not_averaged(start):
    aggregator = start("ab", fraction=0.5)
    drawn = trainers(aggregator, "ab")
    other = "ab".replace(drawn, "")
    report(aggregator, other, "train", weights=50.0, loss=1.0)
    assert texts(aggregator, "late") == ["train of round 0"]
    for name in "ab":
        work(aggregator, name, weights=2.0)
    assert aggregator.state.last.read().tolist() == [2.0] * SIZE


def test_when_all_who_were_drawn_drop_out_the_model_stays(start):
    aggregator = start("abc", rounds=3, fraction=0.3)
    drawn = trainers(aggregator, "abc")
    for name in "abc".replace(drawn, ""):
        work(aggregator, name)
    aggregator.drop(drawn, "dead")
    assert aggregator.round_number == 1, aggregator.failure
    assert aggregator.state.last.read().tolist() == [0.0] * SIZE
    assert texts(aggregator, "unchanged") == [f"no usable update came from {drawn}"]
    again = trainers(aggregator, "abc")  # drawn from those who are left
    assert again and again != drawn


def test_when_all_who_were_drawn_are_refused_others_are_drawn_next(start):
    """One that is drawn alone and sends garbage cannot end the experiment of the others."""
    aggregator = start("ab", fraction=0.5, rounds=8)
    drawn, liar = [], trainers(aggregator, "ab")
    for number in range(8):
        drawn.append(trainers(aggregator, "ab"))
        for name in "ab":
            work(aggregator, name, weights=float("nan") if name == liar else 2.0 + number)
    assert aggregator.failure is None and aggregator.round_number == 8
    honest = [number for number in range(8) if drawn[number] != liar]
    assert honest, "the other one was never drawn"
    assert aggregator.state.last.read().tolist() == [2.0 + honest[-1]] * SIZE
    lies = drawn.count(liar)
    assert (
        texts(aggregator, "refused") == [f"{liar} sent 4 values that are not finite (NaN or infinity)"] * lies
    )
    assert texts(aggregator, "unchanged") == [f"no usable update came from {liar}"] * lies


def test_an_absurd_report_of_one_ends_nothing(start):
    """Clips that are no number, an accuracy that is a matrix, fewer than no clips: the others are scored."""
    aggregator = start("ab", rounds=2)
    work(aggregator, "a", accuracy=0.5)
    tasks, _, _, _ = aggregator.get_tasks("b")
    for task in tasks:
        weights = np.ones(SIZE, np.float32) if task.task_type == "train" else None
        metrics = {"clips": np.zeros(2), "accuracy": np.ones((2, 2)), "loss": np.zeros(3)}
        aggregator.send_local_task_results("b", 0, task.name, -5, Results(metrics, weights))
    assert aggregator.failure is None
    assert aggregator.round_number == 1
    assert aggregator.state.manifest["best_score"] == 0.5
    assert texts(aggregator, "refused") == ["b trained on -5 clips; an update needs at least 1"]


def test_results_that_nobody_wants_are_noted_a_few_times(start):
    aggregator = start("a")
    for number in range(50):
        aggregator.send_local_task_results("a", 10**6 + number, "x" * 10**6, 1, Results({}))
    late = texts(aggregator, "late")
    assert len(late) == 8
    assert max(map(len, late)) < 300


def test_that_one_waits_for_its_approval_is_noted_once(start):
    aggregator = start()
    for number in range(3):
        aggregator.record_waiting("a", f"{number}" * 1000)
    aggregator.record_waiting("b", "exp, digest 0")
    assert texts(aggregator, "waiting") == ["0" * 200, "exp, digest 0"]


def test_metrics_alone_do_not_end_an_upload_that_is_under_way(start):
    aggregator = start("a")
    aggregator._uploads._receiving.add("a")
    report(aggregator, "a", "validate", accuracy=0.5, loss=1.0)
    assert aggregator._uploads.under_way == {"a"}


LONGEST = "x" * (MAX_LETTERS - 4)


def flood(aggregator: Aggregator, name: str) -> None:
    """Send more records than a round has room for, by the longest names, and then results again."""
    for task in aggregator.get_tasks(name)[0]:
        numbers = {f"{LONGEST}{number:4}": -1 / 3e11 for number in range(200)}
        tables = {f"{LONGEST}{letter}": np.full((59, 100), -1 / 3e11) for letter in "abc"}
        report(aggregator, name, task.name, 1.0 if task.task_type == "train" else None, **numbers, **tables)
    for _ in range(20):
        report(aggregator, name, "validate", accuracy=1.0)


def test_one_envoy_fills_neither_the_log_nor_the_disk(start, folder):
    """The honest ones' figures are those without it, and what was left out is said once a task."""
    aggregator = start("abc", rounds=2)
    for _ in range(4):
        work(aggregator, "a", accuracy=0.25)
        flood(aggregator, "c")
        work(aggregator, "b", accuracy=0.5)
    assert aggregator.failure is None and aggregator.state.manifest["round"] == 4

    size = (folder / "records.jsonl").stat().st_size
    assert 4 * MAX_RECORDS * 150 < size < 4 * MAX_RECORDS * 250, "12,000 records a round, of up to 250 bytes"
    for number in range(4):
        theirs = [r for r in aggregator.records if (r["round"], r["metric_origin"]) == (number, "c")]
        assert MAX_RECORDS <= len(theirs) <= MAX_RECORDS + 20  # and clips, bytes_up, late, ignored
        said = [r["metric_name"] for r in theirs if r["task_name"] == "ignored"]
        assert len(said) == len({r["task_name"] for r in theirs} - {"ignored", "late"})
    history = history_of(aggregator.records, 2, "abc")
    assert history.score("validate", 1) == Score(12, 30)  # 0.25 of 10 clips and 0.5 of 20
    assert history.test is not None
    assert any("c sent metrics that were left out: validate: " in event for event in history.events)


@settings(max_examples=40, deadline=None)
@given(st.lists(ANY_METRICS, min_size=7, max_size=7))
def test_whatever_metrics_one_envoy_sends_the_experiment_ends_and_the_notebook_shows_it(sent):
    with tempfile.TemporaryDirectory() as place:
        folder = new_state_folder(Path(place), SIZE)
        aggregator = aggregator_on(folder, ["a", "b"], 2)
        left = iter(sent)
        while not aggregator.get_tasks("a")[3]:
            work(aggregator, "a", accuracy=0.5)
            for task in aggregator.get_tasks("b")[0] or []:
                weights = np.ones(SIZE, np.float32) if task.task_type == "train" else None
                number, results = aggregator.round_number, Results(next(left), weights)
                aggregator.send_local_task_results("b", number, task.name, 20, results)
        assert aggregator.failure is None
        aggregator.state.close()
        lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    history = history_of(map(json.loads, lines), 2, "ab")
    assert history.test is not None and len(history.results()) == 2
    assert history.score("validate", 0, "a") == Score(5, 10)
    assert all(line.isprintable() for event in history.events for line in event.split("\n"))
    (
        repr(results_table(history)),
        repr(envoys_table(history)),
        confusions_in_words(history.confusion(3), "xyz"),
    )
