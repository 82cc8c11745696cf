benchmarks.compare ||"""The comparison: what it is made of, and each regime once, on a corpus of a few clips and real processes."""
benchmarks.compare ||
benchmarks.compare ||from __future__ import annotations
benchmarks.compare ||
benchmarks.compare ||import hashlib
benchmarks.compare ||import io
benchmarks.compare ||import json
benchmarks.compare ||import os
benchmarks.compare ||import subprocess
benchmarks.compare ||from collections import Counter
benchmarks.compare ||from collections.abc import Iterator
benchmarks.compare ||from dataclasses import replace
benchmarks.compare ||from pathlib import Path
benchmarks.compare ||from typing import Any
benchmarks.compare ||
benchmarks.compare ||import numpy as np
benchmarks.compare ||import pytest
benchmarks.compare ||from rich.console import Console
benchmarks.compare ||from transformers.trainer_utils import TrainOutput
benchmarks.compare ||
benchmarks.compare ||from benchmarks.compare import federated as compare_federated
benchmarks.compare ||from benchmarks.compare import local as compare_local
benchmarks.compare ||from benchmarks.compare import run as compare
benchmarks.compare ||from benchmarks.compare import tasks as compare_tasks
benchmarks.compare ||from benchmarks.compare.data import Archives, find_archives, forget_hidden_states, own_cache, shard_params
benchmarks.compare ||from benchmarks.compare.plan import (
benchmarks.compare ||    CENTRALISED,
benchmarks.compare ||    FEDERATED,
benchmarks.compare ||    LOCAL,
benchmarks.compare ||    QUICK,
benchmarks.compare ||    REAL,
benchmarks.compare ||    SEEDS,
benchmarks.compare ||    SKEWED_STRATEGIES,
benchmarks.compare ||    Job,
benchmarks.compare ||    Work,
benchmarks.compare ||    plan,
benchmarks.compare ||)
benchmarks.compare ||from benchmarks.compare.results import (
benchmarks.compare ||    CORE,
benchmarks.compare ||    MORE,
benchmarks.compare ||    PASSES,
benchmarks.compare ||    class_accuracies,
benchmarks.compare ||    identity,
benchmarks.compare ||    is_done,
benchmarks.compare ||    keep_row,
benchmarks.compare ||    load_rows,
benchmarks.compare ||)
benchmarks.compare ||from demo.federation import Federation
benchmarks.compare ||from superb_ks.model.architecture import CHECKPOINT
benchmarks.compare ||from superb_ks.model.packing import pack
benchmarks.compare ||from superb_ks.model.spec import ModelSpec
benchmarks.compare ||from superb_ks.schedule import TRAIN
benchmarks.compare ||from superb_ks.settings import SUPERB_LABELS
benchmarks.compare ||from superb_ks.training.data import ClipDataset
benchmarks.compare ||from superb_ks.training.evaluation import evaluate
benchmarks.compare ||from superb_ks.training.means_store import cache_folder
benchmarks.compare ||from superb_notebook.history import History
benchmarks.compare ||from superb_shard_descriptor import SuperbShardDescriptor
benchmarks.compare ||
benchmarks.compare ||# The plan ----------------------------------------------------------------------------------------------
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.parametrize(
benchmarks.compare ||    "wanted",
benchmarks.compare ||    [
benchmarks.compare ||        *[dict(regime=CENTRALISED, tuning=tuning) for tuning in ("full", "lora", "head")],
benchmarks.compare ||        *[
benchmarks.compare ||            dict(regime=FEDERATED, partition="iid", envoys=2, tuning=tuning, strategy="fedavg")
benchmarks.compare ||            for tuning in ("full", "lora", "head")
benchmarks.compare ||        ],
benchmarks.compare ||        dict(regime=FEDERATED, partition="speaker", envoys=4, strategy="fedavg"),
benchmarks.compare ||        dict(regime=FEDERATED, partition="dirichlet", envoys=4, strategy="fedavg"),
benchmarks.compare ||        *[
benchmarks.compare ||            dict(regime=FEDERATED, partition="dirichlet", envoys=4, strategy=strategy)
benchmarks.compare ||            for strategy in SKEWED_STRATEGIES
benchmarks.compare ||        ],
benchmarks.compare ||        *[
benchmarks.compare ||            dict(regime=FEDERATED, partition="iid", envoys=4, strategy=strategy, garbage=garbage)
benchmarks.compare ||            for strategy in ("fedavg", "median", "trimmed_mean")
benchmarks.compare ||            for garbage in (0, 1)
benchmarks.compare ||        ],
benchmarks.compare ||        *[dict(regime=LOCAL, partition=kind) for kind in ("iid", "speaker", "dirichlet")],
benchmarks.compare ||        dict(data="synthetic", regime=FEDERATED, envoys=2, model="tiny", partition="iid"),
benchmarks.compare ||        dict(data="synthetic", regime=FEDERATED, envoys=2, model="scratch", partition="iid"),
benchmarks.compare ||    ],
benchmarks.compare ||    ids=lambda value: " ".join(map(str, value.values())),
benchmarks.compare ||)
benchmarks.compare ||def test_every_row_of_the_targets_is_planned_with_three_seeds(wanted: dict[str, Any]) -> None:
benchmarks.compare ||    named = {"data": "real", "tuning": "full", "garbage": 0, **wanted}
benchmarks.compare ||    found = [job for job in plan() if all(getattr(job, key) == value for key, value in named.items())]
benchmarks.compare ||    assert tuple(job.seed for job in found) == SEEDS
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_no_run_is_planned_twice_and_a_federation_is_started_once() -> None:
benchmarks.compare ||    jobs = plan()
benchmarks.compare ||    assert max(Counter(job.identity for job in jobs).values()) == 1
benchmarks.compare ||    order = [job.federation for job in jobs]
benchmarks.compare ||    changes = sum(a != b for a, b in zip(order, order[1:], strict=False))
benchmarks.compare ||    assert changes == len(set(order)) - 1
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_all_regimes_of_one_tuning_make_the_same_passes() -> None:
benchmarks.compare ||    passes: dict[tuple[str, str, str], set[int]] = {}
benchmarks.compare ||    for job in plan():
benchmarks.compare ||        done = job.work.rounds * job.settings().recipe.epochs_per_round
benchmarks.compare ||        passes.setdefault((job.data, job.model, job.tuning), set()).add(done)
benchmarks.compare ||    assert all(len(numbers) == 1 for numbers in passes.values())
benchmarks.compare ||    assert passes["real", "tiny", "full"] == passes["real", "tiny", "lora"] == {12}
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_an_experiment_waits_for_all_of_its_envoys() -> None:
benchmarks.compare ||    for job in plan():
benchmarks.compare ||        assert job.settings().min_envoys == job.envoys
benchmarks.compare ||        assert job.settings().seed == job.seed
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_seeds_one_after_another_are_the_whole_plan() -> None:
benchmarks.compare ||    jobs = plan()
benchmarks.compare ||    assert Counter(job.seed for job in jobs) == dict.fromkeys(SEEDS, len(jobs) // len(SEEDS))
benchmarks.compare ||    in_turn = [job for seed in SEEDS for job in plan([seed])]
benchmarks.compare ||    assert {job.identity for job in in_turn} == {job.identity for job in jobs}
benchmarks.compare ||    assert len(in_turn) == len(jobs)
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||# The rows ----------------------------------------------------------------------------------------------
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_class_accuracies_are_shares_of_the_true_class() -> None:
benchmarks.compare ||    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
benchmarks.compare ||    assert class_accuracies(confusion, ["a", "b", "c"]) == {"a": 0.75, "b": 0.0, "c": 0.75}
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_a_row_takes_the_place_of_an_earlier_one_of_the_same_run(tmp_path: Path) -> None:
benchmarks.compare ||    path = tmp_path / "results" / "compare.json"
benchmarks.compare ||    job = Job(REAL, CENTRALISED, work=Work(2, 3))
benchmarks.compare ||    row = dict.fromkeys((*CORE, *MORE))
benchmarks.compare ||    row |= {key: getattr(job, key) for key in row if hasattr(job, key)}
benchmarks.compare ||    row |= {"rounds": 2, "epochs_per_round": 3}
benchmarks.compare ||    assert row["checkpoint"] is not None
benchmarks.compare ||    keep_row({**row, "test_accuracy": 0.123456}, path)
benchmarks.compare ||    keep_row({**row, "seed": 1}, path)
benchmarks.compare ||    keep_row({**row, "test_accuracy": 0.5}, path)
benchmarks.compare ||    rows = load_rows(path)
benchmarks.compare ||    assert [(item["seed"], item["test_accuracy"]) for item in rows] == [(0, 0.5), (1, None)]
benchmarks.compare ||    assert identity(rows[0]) == job.identity
benchmarks.compare ||    assert is_done(job, rows)
benchmarks.compare ||    assert not is_done(replace(job, work=Work(3, 3)), rows)
benchmarks.compare ||    assert not is_done(replace(job, seed=2), rows)
benchmarks.compare ||    assert [entry.name for entry in path.parent.iterdir()] == ["compare.json"]
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.parametrize("changed", [{"checkpoint": "0" * 12}, {"recipe": "0" * 12}, {"rounds": 3}], ids=str)
benchmarks.compare ||def test_a_row_of_another_miniature_or_recipe_does_not_count(changed: dict[str, Any], tmp_path: Path) -> None:
benchmarks.compare ||    path = tmp_path / "compare.json"
benchmarks.compare ||    job = Job(REAL, CENTRALISED, work=Work(2, 3))
benchmarks.compare ||    row = dict.fromkeys((*CORE, *MORE))
benchmarks.compare ||    row |= {key: getattr(job, key) for key in row if hasattr(job, key)} | {"rounds": 2}
benchmarks.compare ||    keep_row({**row, **changed}, path)
benchmarks.compare ||    keep_row({**row, **changed, "tuning": "lora"}, path)
benchmarks.compare ||    assert not is_done(job, load_rows(path))
benchmarks.compare ||    keep_row({**row, "seed": 1}, path)
benchmarks.compare ||    # Of the other seed, which would be averaged with it, but not of another line of the table.
benchmarks.compare ||    assert [(item["seed"], item["tuning"]) for item in load_rows(path)] == [(1, "full"), (0, "lora")]
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_a_checkpoint_is_the_shipped_miniatures_alone() -> None:
benchmarks.compare ||    job = Job(REAL, CENTRALISED)
benchmarks.compare ||    shipped = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
benchmarks.compare ||    assert job.checkpoint == shipped[:12]
benchmarks.compare ||    assert replace(job, model="scratch").checkpoint is None
benchmarks.compare ||    assert job.recipe == replace(job, seed=1).recipe != replace(job, tuning="lora").recipe
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_without_real_speech_its_rows_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
benchmarks.compare ||    assert compare.main(["--list"]) == 0
benchmarks.compare ||    printed = capsys.readouterr()
benchmarks.compare ||    assert printed.out.startswith("synthetic federated")
benchmarks.compare ||    assert "real" not in printed.out
benchmarks.compare ||    assert "no rows on real speech" in printed.err
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_a_folder_without_an_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
benchmarks.compare ||    assert compare.main(["--data", str(tmp_path), "--list"]) == 2
benchmarks.compare ||    assert "no training archive there" in capsys.readouterr().err
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_a_missing_test_archive_is_named_before_anything_runs(
benchmarks.compare ||    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
benchmarks.compare ||) -> None:
benchmarks.compare ||    alone = tmp_path / "speech_commands_v0.01"
benchmarks.compare ||    alone.mkdir()
benchmarks.compare ||    (alone / "validation_list.txt").touch()
benchmarks.compare ||    for arguments, named in (
benchmarks.compare ||        (["--data", str(alone)], f"--data {alone}: no test archive beside it"),
benchmarks.compare ||        (["--data", str(alone), "--test-data", str(tmp_path)], f"--test-data {tmp_path}: no test archive"),
benchmarks.compare ||        (["--data", "synthetic", "--test-data", str(tmp_path)], "goes with --data only"),
benchmarks.compare ||    ):
benchmarks.compare ||        assert compare.main([*arguments, "--list"]) == 2
benchmarks.compare ||        error = capsys.readouterr().err
benchmarks.compare ||        assert named in error
benchmarks.compare ||        assert error.count("\n") == 1
benchmarks.compare ||    elsewhere = small_corpus.parent / "speech_commands_test_set_v0.01"
benchmarks.compare ||    assert compare.main(["--data", str(alone), "--test-data", str(elsewhere), "--list"]) == 0
benchmarks.compare ||    assert capsys.readouterr().out.startswith("real centralised")
benchmarks.compare ||    assert find_archives(alone, elsewhere) == Archives(alone, elsewhere)
benchmarks.compare ||    assert find_archives(small_corpus) == Archives(small_corpus, elsewhere)
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_make_reports_the_finished_rows_of_a_comparison_that_failed(tmp_path: Path) -> None:
benchmarks.compare ||    """A script in the place of Python notes what it is asked for, and fails as the comparison would."""
benchmarks.compare ||    for status, reported in ((0, True), (1, True), (2, False), (130, False)):
benchmarks.compare ||        log = tmp_path / f"log-{status}"
benchmarks.compare ||        python = tmp_path / "python"
benchmarks.compare ||        python.write_text(
benchmarks.compare ||            f'#!/bin/sh\necho "$2" >> "{log}"\ntest "$2" != benchmarks.compare.run || exit {status}\n'
benchmarks.compare ||        )
benchmarks.compare ||        python.chmod(0o755)
benchmarks.compare ||        stamp = tmp_path / ".installed-dev"
benchmarks.compare ||        stamp.touch()
benchmarks.compare ||        command = ["make", "--old-file", str(stamp), "compare", f"VENV={tmp_path}", f"RUN={python}"]
benchmarks.compare ||        done = subprocess.run(command, cwd=compare.ROOT, capture_output=True, text=True, check=False)
benchmarks.compare ||        assert (done.returncode != 0) == (status != 0), done.stderr
benchmarks.compare ||        modules = ["benchmarks.compare", *["benchmarks.compare.report"] * reported]
benchmarks.compare ||        assert log.read_text().split() == modules
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||# The runs ----------------------------------------------------------------------------------------------
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||class CountedClips:
benchmarks.compare ||    """Counts how often each clip is read."""
benchmarks.compare ||
benchmarks.compare ||    def __init__(self, clips: Any) -> None:
benchmarks.compare ||        self.clips, self.read = clips, Counter[int]()
benchmarks.compare ||
benchmarks.compare ||    def __len__(self) -> int:
benchmarks.compare ||        return len(self.clips)
benchmarks.compare ||
benchmarks.compare ||    def __getitem__(self, index: int) -> Any:
benchmarks.compare ||        self.read[index] += 1
benchmarks.compare ||        return self.clips[index]
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def params(corpus: Path, partition: str = "iid") -> dict[str, str | int]:
benchmarks.compare ||    test = corpus.parent / "speech_commands_test_set_v0.01"
benchmarks.compare ||    return {"source": "folder", "data_dir": str(corpus), "test_dir": str(test), "partition": partition}
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.parametrize(
benchmarks.compare ||    "job", [Job(REAL, CENTRALISED), Job(REAL, LOCAL, "iid", 2)], ids=lambda job: job.regime
benchmarks.compare ||)
benchmarks.compare ||def test_every_regime_trains_on_each_clip_equally_often(
benchmarks.compare ||    job: Job, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
benchmarks.compare ||) -> None:
benchmarks.compare ||    counters: dict[tuple[int, str], CountedClips] = {}
benchmarks.compare ||    get_dataset = SuperbShardDescriptor.get_dataset
benchmarks.compare ||
benchmarks.compare ||    def counted(shard: SuperbShardDescriptor, split: str) -> CountedClips:
benchmarks.compare ||        key = (shard.rank if shard.world_size > 1 else 0, split)
benchmarks.compare ||        return counters.setdefault(key, CountedClips(get_dataset(shard, split)))
benchmarks.compare ||
benchmarks.compare ||    monkeypatch.setattr(SuperbShardDescriptor, "get_dataset", counted)
benchmarks.compare ||    job = replace(job, model="scratch", work=Work(2, 1))
benchmarks.compare ||    row = compare_local.run(job, params(small_corpus))
benchmarks.compare ||    reads = [
benchmarks.compare ||        count for (_, split), clips in counters.items() if split == "train" for count in clips.read.values()
benchmarks.compare ||    ]
benchmarks.compare ||    assert set(reads) == {2}
benchmarks.compare ||    assert sum(reads) == row["clips_seen"]
benchmarks.compare ||    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))  # type: ignore[arg-type]
benchmarks.compare ||    assert row["clips_seen"] == 2 * len(get_dataset(everything, "train"))
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_envoys_alone_are_scored_on_everybodys_clips(small_corpus: Path) -> None:
benchmarks.compare ||    job = Job(REAL, LOCAL, "speaker", 2, model="scratch", work=QUICK)
benchmarks.compare ||    row = compare_local.run(job, params(small_corpus, "speaker"))
benchmarks.compare ||    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))  # type: ignore[arg-type]
benchmarks.compare ||    assert row["test_clips"] == len(everything.get_dataset("test"))
benchmarks.compare ||    scores = row["envoy_scores"].values()
benchmarks.compare ||    assert sum(score["test_clips"] for score in scores) == row["test_clips"]
benchmarks.compare ||    weights = [score["train_clips"] for score in scores]
benchmarks.compare ||    accuracies = [score["local_on_all"] for score in scores]
benchmarks.compare ||    assert row["test_accuracy"] == pytest.approx(np.average(accuracies, weights=weights))
benchmarks.compare ||    assert row["test_spread"] == pytest.approx(np.std(accuracies))
benchmarks.compare ||    assert (row["bytes"], row["best_round"], len(row["curve"])) == (0, None, 2)
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_a_heads_passes_are_the_first_of_all_and_the_slowest_later_one() -> None:
benchmarks.compare ||    def training(**metrics: float) -> TrainOutput:
benchmarks.compare ||        return TrainOutput(1, 0.5, {"train_runtime": 9.0, **metrics})
benchmarks.compare ||
benchmarks.compare ||    first, later = PASSES
benchmarks.compare ||    rounds = [training(**{first: 8.0, later: 0.2}), training(**{first: 0.3, later: 0.25})]
benchmarks.compare ||    assert compare_local._pass_seconds(rounds) == {first: 8.0, later: 0.25}
benchmarks.compare ||    assert compare_local._pass_seconds([training(), training()]) == {}
benchmarks.compare ||    history = History(2, ["env_one", "env_two"])
benchmarks.compare ||    assert compare_federated._pass_seconds(history) == {}
benchmarks.compare ||    for envoy, extra in (("env_one", 0.0), ("env_two", 1.0)):
benchmarks.compare ||        for number, result in enumerate(rounds):
benchmarks.compare ||            for name, seconds in compare_tasks.pass_seconds(result).items():
benchmarks.compare ||                where = {"round": number, "metric_origin": envoy, "task_name": TRAIN}
benchmarks.compare ||                history.add({**where, "metric_name": name, "metric_value": seconds + extra})
benchmarks.compare ||    assert compare_federated._pass_seconds(history) == {first: 9.0, later: 1.25}
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_noise_is_seeded_and_large() -> None:
benchmarks.compare ||    model = ModelSpec("scratch", SUPERB_LABELS).build()
benchmarks.compare ||    before = pack(model)
benchmarks.compare ||    compare_tasks.put_noise(model, 3)
benchmarks.compare ||    noise = pack(model)
benchmarks.compare ||    compare_tasks.put_noise(model, 3)
benchmarks.compare ||    assert np.array_equal(noise, pack(model))
benchmarks.compare ||    assert noise.std() == pytest.approx(compare_tasks.GARBAGE_SCALE, rel=0.01)
benchmarks.compare ||    assert noise.std() > 5 * before.std()
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_personalising_leaves_the_model_as_it_was(small_corpus: Path) -> None:
benchmarks.compare ||    settings = Job(REAL, FEDERATED, model="scratch", work=QUICK).settings()
benchmarks.compare ||    spec = ModelSpec("scratch", SUPERB_LABELS)
benchmarks.compare ||    shard = SuperbShardDescriptor("1, 4", **params(small_corpus))  # type: ignore[arg-type]
benchmarks.compare ||    splits = {
benchmarks.compare ||        split: ClipDataset(shard.get_dataset(split), spec.feature_extractor()) for split in ("train", "test")
benchmarks.compare ||    }
benchmarks.compare ||    model = spec.build()
benchmarks.compare ||    before, score = pack(model), evaluate(model, splits["test"], "cpu")["loss"]
benchmarks.compare ||    accuracy = compare_tasks.personalised_accuracy(model, splits, settings, "cpu")
benchmarks.compare ||    assert 0 <= accuracy <= 1
benchmarks.compare ||    assert np.array_equal(before, pack(model))
benchmarks.compare ||    assert evaluate(model, splits["test"], "cpu")["loss"] == score
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.fixture(scope="module")
benchmarks.compare ||def federation(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
benchmarks.compare ||    folder = tmp_path_factory.mktemp("compare")
benchmarks.compare ||    with Federation(folder, envoys=2, shard_params=params(small_corpus)) as running:
benchmarks.compare ||        yield running
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||JOB = Job(REAL, FEDERATED, "iid", 2, strategy="fedavg", model="scratch", work=QUICK)
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.slow
benchmarks.compare ||@pytest.mark.federation
benchmarks.compare ||def test_a_federation_gives_the_row_of_its_run(federation: Federation, small_corpus: Path) -> None:
benchmarks.compare ||    row = compare_federated.run(JOB, federation)
benchmarks.compare ||    assert tuple(row) == (*CORE, *MORE)
benchmarks.compare ||    assert json.loads(json.dumps(row)) == row
benchmarks.compare ||    assert identity(row) == JOB.identity
benchmarks.compare ||    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))  # type: ignore[arg-type]
benchmarks.compare ||    assert row["test_clips"] == len(everything.get_dataset("test"))
benchmarks.compare ||    assert row["clips_seen"] == len(everything.get_dataset("train"))
benchmarks.compare ||    size = 4 * pack(ModelSpec("scratch", SUPERB_LABELS).build()).size
benchmarks.compare ||    # One update up, and down the models of two rounds and the best one.
benchmarks.compare ||    assert (row["bytes"], row["bytes_down"]) == (size, 3 * size)
benchmarks.compare ||    assert [point["bytes"] for point in row["curve"]] == [0, size]
benchmarks.compare ||    assert 0 < row["curve"][0]["seconds"] < row["curve"][1]["seconds"] == row["seconds"]
benchmarks.compare ||    assert row["curve"][row["best_round"]]["test"] == pytest.approx(row["test_accuracy"])
benchmarks.compare ||    assert set(row["classes"]) == set(SUPERB_LABELS)
benchmarks.compare ||    scores = row["envoy_scores"]
benchmarks.compare ||    pooled = sum(score["global"] * score["test_clips"] for score in scores.values()) / row["test_clips"]
benchmarks.compare ||    assert pooled == pytest.approx(row["test_accuracy"])
benchmarks.compare ||    assert all(0 <= score["personalised"] <= 1 for score in scores.values())
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.slow
benchmarks.compare ||@pytest.mark.federation
benchmarks.compare ||def test_an_envoy_that_sends_noise_spoils_the_plain_average(federation: Federation) -> None:
benchmarks.compare ||    row = compare_federated.run(replace(JOB, garbage=1), federation)
benchmarks.compare ||    assert row["garbage"] == 1
benchmarks.compare ||    # Half of the average is noise of twenty times the weights' size.
benchmarks.compare ||    assert row["curve"][1]["validation"] < 0.3
benchmarks.compare ||    assert not any("personalised" in score for score in row["envoy_scores"].values())
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||@pytest.mark.slow
benchmarks.compare ||@pytest.mark.federation
benchmarks.compare ||def test_the_command_runs_keeps_and_does_not_repeat(
benchmarks.compare ||    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
benchmarks.compare ||) -> None:
benchmarks.compare ||    results = tmp_path / "compare.json"
benchmarks.compare ||    archives = find_archives(small_corpus)
benchmarks.compare ||    jobs = [replace(JOB, regime=LOCAL, strategy=None), JOB]
benchmarks.compare ||    output = io.StringIO()
benchmarks.compare ||    console = Console(file=output, width=200)
benchmarks.compare ||    assert compare.Comparison(archives, results, False, console).run(jobs) == 0
benchmarks.compare ||    assert {row["regime"] for row in load_rows(results)} == {LOCAL, FEDERATED}
benchmarks.compare ||    assert "0 runs failed" in output.getvalue()
benchmarks.compare ||    kept = results.read_bytes()
benchmarks.compare ||    assert compare.Comparison(archives, results, False, console).run(jobs) == 0
benchmarks.compare ||    assert "2 of 2 rows are there" in output.getvalue()
benchmarks.compare ||    assert results.read_bytes() == kept
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_runs_on_real_speech_have_a_cache_that_starts_empty(
benchmarks.compare ||    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
benchmarks.compare ||) -> None:
benchmarks.compare ||    monkeypatch.setenv("SUPERB_CACHE", "the user's")
benchmarks.compare ||    with own_cache(replace(JOB, data="synthetic"), tmp_path):
benchmarks.compare ||        assert os.environ["SUPERB_CACHE"] == "the user's"
benchmarks.compare ||    with own_cache(JOB, tmp_path):
benchmarks.compare ||        assert cache_folder() == tmp_path / "hidden-states"
benchmarks.compare ||        cache_folder().mkdir()
benchmarks.compare ||        forget_hidden_states(tmp_path)
benchmarks.compare ||        assert not cache_folder().exists()
benchmarks.compare ||    assert os.environ["SUPERB_CACHE"] == "the user's"
benchmarks.compare ||
benchmarks.compare ||
benchmarks.compare ||def test_shards_are_told_where_the_clips_are_and_how_they_are_shared(tmp_path: Path) -> None:
benchmarks.compare ||    data = Archives(tmp_path / "train", tmp_path / "test")
benchmarks.compare ||    folders = {"data_dir": str(data.train), "test_dir": str(data.test)}
benchmarks.compare ||    assert shard_params(Job(REAL, CENTRALISED), data) == {"source": "folder", "seed": 0, **folders}
benchmarks.compare ||    skewed = replace(JOB, partition="dirichlet", envoys=4)
benchmarks.compare ||    assert shard_params(skewed, data) == {
benchmarks.compare ||        "source": "folder",
benchmarks.compare ||        "seed": 0,
benchmarks.compare ||        **folders,
benchmarks.compare ||        "partition": "dirichlet",
benchmarks.compare ||        "alpha": 0.3,
benchmarks.compare ||    }
benchmarks.compare ||    assert shard_params(replace(JOB, data="synthetic"), None) == {
benchmarks.compare ||        "source": "synthetic",
benchmarks.compare ||        "seed": 0,
benchmarks.compare ||        "partition": "iid",
benchmarks.compare ||    }
