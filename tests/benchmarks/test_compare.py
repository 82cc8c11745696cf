"""The comparison: what it is made of, and each regime once, on a corpus of a few clips and real processes."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.compare import federated as compare_federated
from benchmarks.compare import local as compare_local
from benchmarks.compare import report
from benchmarks.compare import results as results_module
from benchmarks.compare import run as compare
from benchmarks.compare import tasks as compare_tasks
from benchmarks.compare.data import Archives, find_archives, shard_params
from benchmarks.compare.plan import (
    CENTRALISED,
    FEDERATED,
    LOCAL,
    REAL,
    Job,
    Work,
    plan,
    work_for,
)
from benchmarks.compare.results import (
    ENTRIES,
    RESULTS,
    ROOT,
    class_accuracies,
    identity,
    is_done,
    keep_row,
    load_rows,
    results_file,
)
from demo.errors import DemoError
from demo.federation import Federation
from demo.options import TEST_FOLDER
from superb_ks.checked import ABOVE_0, checked
from superb_ks.model.architecture import CHECKPOINT
from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import STRATEGIES, SUPERB_LABELS, FedAdam
from superb_ks.training.local import steps_per_round
from superb_shard_descriptor import SuperbShardDescriptor
from tests.workspace.comparison_rows import comparison_row, small_comparison

# The plan ----------------------------------------------------------------------------------------------

EVERY_TUNING = ("full", "lora", "head")
FOUR_IID: dict[str, Any] = dict(regime=FEDERATED, partition="iid", envoys=4)
FOUR_SPEAKER: dict[str, Any] = dict(regime=FEDERATED, partition="speaker", envoys=4, strategy="fedavg")
ROWS: list[tuple[dict[str, Any], int]] = [
    *[(dict(regime=CENTRALISED, tuning=tuning), 5) for tuning in EVERY_TUNING],
    *[
        (dict(regime=FEDERATED, partition="iid", envoys=2, tuning=tuning, strategy="fedavg"), 5)
        for tuning in EVERY_TUNING
    ],
    *[({**FOUR_SPEAKER, "tuning": tuning}, 5) for tuning in EVERY_TUNING],
    *[
        ({**where, "strategy": each}, 5)
        for where in (FOUR_IID, {**FOUR_IID, "partition": "dirichlet"})
        for each in STRATEGIES
        if each != "trimmed_mean"
    ],
    *[({**FOUR_IID, "strategy": each, "garbage": 1}, 1) for each in ("fedavg", "median")],
    *[(dict(regime=LOCAL, partition=kind), 1) for kind in ("iid", "speaker", "dirichlet")],
    (dict(data="synthetic", regime=FEDERATED, envoys=2, partition="iid"), 5),
    (dict(data="synthetic", regime=FEDERATED, envoys=2, partition="iid", model="scratch"), 1),
    *[
        ({**where, "model": model, "share": share}, 3)
        for where in (dict(regime=CENTRALISED), FOUR_SPEAKER)
        for model, shares in (("tiny", (0.05, 0.1, 0.25, 0.5)), ("scratch", (0.05, 0.1, 0.25, 0.5, 1.0)))
        for share in shares
    ],
]


@pytest.mark.parametrize(("wanted", "seeds"), ROWS, ids=str)
def test_every_row_of_the_targets_is_planned_with_its_seeds(wanted: dict[str, Any], seeds: int) -> None:
    named = {"data": "real", "tuning": "full", "garbage": 0, "model": "tiny", "share": 1.0, **wanted}
    found = [job for job in plan() if all(getattr(job, key) == value for key, value in named.items())]
    assert [job.seed for job in found] == list(range(seeds))


def test_nothing_but_the_rows_of_the_targets_is_planned() -> None:
    assert len(plan()) == sum(seeds for _, seeds in ROWS) == 160


def test_no_run_is_planned_twice_and_a_federation_is_started_once() -> None:
    jobs = plan()
    assert max(Counter(job.identity for job in jobs).values()) == 1
    assert max(Counter(job.name for job in jobs).values()) == 1
    order = [job.federation for job in jobs]
    changes = sum(a != b for a, b in zip(order, order[1:], strict=False))
    assert changes == len(set(order)) - 1


def test_all_regimes_of_one_tuning_make_the_same_epochs() -> None:
    epochs: dict[tuple[str, str, str, float], set[int]] = {}
    for job in plan():
        done = job.work.rounds * job.settings().complete_recipe.epochs_per_round
        epochs.setdefault((job.data, job.model, job.tuning, job.share), set()).add(done)
    assert all(len(numbers) == 1 for numbers in epochs.values())
    assert epochs["real", "tiny", "lora", 1.0] == {12}
    for model in ("tiny", "scratch"):
        of_few = [epochs["real", model, "full", share] for share in (0.05, 0.1, 0.25, 0.5, 1.0)]
        assert of_few == [{60}, {36}, {12}, {12}, {12}]


@pytest.mark.parametrize("regime", [CENTRALISED, FEDERATED])
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_few_clips_are_trained_on_in_as_many_steps_as_a_quarter_of_them(regime: str, share: float) -> None:
    def steps(job: Job) -> int:
        job = replace(job, work=work_for(job))
        clips = round(job.share * 1480 / job.envoys)  # as many as the sample has
        return job.work.rounds * steps_per_round(clips, job.settings().complete_recipe)

    jobs = [job for job in plan([0]) if (job.regime, job.share) == (regime, share)]
    assert len(jobs) == 2
    for job in jobs:
        assert job.work.rounds == work_for(replace(job, share=1.0)).rounds
        assert steps(replace(job, share=1.0)) > steps(job) >= steps(replace(job, share=0.25))


def test_an_experiment_waits_for_all_of_its_envoys() -> None:
    for job in plan():
        assert job.settings().failures.min_envoys == job.envoys
        assert job.settings().seed == job.seed


def test_seeds_that_are_named_are_those_of_every_row() -> None:
    jobs = plan([7, 8])
    assert {job.identity[:-1] for job in jobs} == {job.identity[:-1] for job in plan()}
    assert Counter(job.seed for job in jobs) == dict.fromkeys((7, 8), len(ROWS))


def test_the_quick_form_has_the_main_rows_of_the_whole_one() -> None:
    quick, whole = plan([0], main_rows=True), plan([0])
    assert [job for job in whole if job in quick] == quick  # the same work, in the same order
    named = {(job.data, job.regime, job.partition, job.envoys, job.tuning, job.strategy) for job in quick}
    assert len(named) == len(quick)
    assert named == {
        *[("real", "centralised", "pooled", 1, tuning, None) for tuning in ("full", "lora", "head")],
        *[("real", "federated", "iid", 2, tuning, "fedavg") for tuning in ("full", "lora", "head")],
        ("real", "federated", "iid", 4, "full", "fedavg"),
        ("real", "federated", "speaker", 4, "full", "fedavg"),
        *[("real", "federated", "dirichlet", 4, "full", strategy) for strategy in ("fedavg", "median")],
        ("synthetic", "federated", "iid", 2, "full", "fedavg"),
    }


@pytest.mark.parametrize(
    ("options", "seeds", "is_whole"),
    [
        ([], {0, 1, 2, 3, 4}, True),
        (["--seeds", "6"], {6}, True),
        (["--quick"], {0}, False),
        (["--quick=1"], {0}, False),
        (["--quick=0"], {0, 1, 2, 3, 4}, True),
    ],
)
def test_the_command_line_chooses_the_form(
    options: list[str],
    seeds: set[int],
    is_whole: bool,
    small_corpus: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(["--data", str(small_corpus), "--list", *options]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {int(line.rpartition(" ")[2]) for line in listed} == seeds
    for part in ("garbage", "10% of the clips"):
        assert any(part in line for line in listed) == is_whole


# The rows ----------------------------------------------------------------------------------------------


def test_class_accuracies_are_shares_of_the_true_class() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    assert class_accuracies(confusion, ["a", "b", "c"]) == {"a": 0.75, "b": 0.0, "c": 0.75}


def test_a_row_takes_the_place_of_an_earlier_one_of_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "results" / "compare.json"
    job = Job(REAL, CENTRALISED, work=Work(2, 3))
    row = dict.fromkeys(ENTRIES)
    row |= {key: getattr(job, key) for key in row if hasattr(job, key)}
    row |= {"rounds": 2, "epochs_per_round": 3}
    assert row["checkpoint"] is not None
    keep_row({**row, "test_accuracy": 0.123456}, path)
    keep_row({**row, "seed": 1}, path)
    keep_row({**row, "test_accuracy": 0.5}, path)
    rows = load_rows(path)
    assert [(item["seed"], item["test_accuracy"]) for item in rows] == [(0, 0.5), (1, None)]
    assert identity(rows[0]) == job.identity
    assert is_done(job, rows)
    assert not is_done(replace(job, work=Work(3, 3)), rows)
    assert not is_done(replace(job, seed=2), rows)
    assert [entry.name for entry in path.parent.iterdir()] == ["compare.json"]


@pytest.mark.parametrize("changed", [{"checkpoint": "0" * 12}, {"recipe": "0" * 12}, {"rounds": 3}], ids=str)
def test_a_row_of_another_tiny_model_or_recipe_does_not_count(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "compare.json"
    job = Job(REAL, CENTRALISED, work=Work(2, 3))
    row = dict.fromkeys(ENTRIES)
    row |= {key: getattr(job, key) for key in row if hasattr(job, key)} | {"rounds": 2}
    keep_row({**row, **changed}, path)
    keep_row({**row, **changed, "tuning": "lora"}, path)
    assert not is_done(job, load_rows(path))
    keep_row({**row, "seed": 1}, path)
    # Of the other seed, which would be averaged with it, but not of another line of the table.
    assert [(item["seed"], item["tuning"]) for item in load_rows(path)] == [(1, "full"), (0, "lora")]


def test_rows_from_before_there_were_shares_are_of_all_clips(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    job = Job(REAL, CENTRALISED, work=Work(2, 3))
    row = dict.fromkeys(ENTRIES)
    row |= {key: getattr(job, key) for key in row if hasattr(job, key)} | {"rounds": 2}
    old = {key: value for key, value in row.items() if key != "share"}
    few = replace(job, share=0.05)
    path.write_text(json.dumps({"rows": [old]}))
    assert is_done(job, load_rows(path))
    assert not is_done(few, load_rows(path))
    keep_row({**row, "share": 0.05}, path)
    assert load_rows(path)[1] == old
    assert is_done(few, load_rows(path))
    keep_row({**row, "test_accuracy": 0.5}, path)
    assert [(each["share"], each["test_accuracy"]) for each in load_rows(path)] == [(0.05, None), (1.0, 0.5)]


def test_a_checkpoint_is_the_shipped_tiny_models_alone() -> None:
    job = Job(REAL, CENTRALISED)
    shipped = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    assert job.checkpoint == shipped[:12]
    assert replace(job, model="scratch").checkpoint is None
    assert job.recipe == replace(job, seed=1).recipe != replace(job, tuning="lora").recipe


def test_a_row_of_other_rates_of_a_strategy_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    adam, plain = (replace(JOB, strategy=name) for name in ("fedadam", "fedavg"))
    before = adam.recipe, plain.recipe

    @dataclass(frozen=True, kw_only=True)
    class Quick(FedAdam):
        learning_rate: float = checked(ABOVE_0, 0.5)

    monkeypatch.setitem(STRATEGIES, "fedadam", Quick)
    assert adam.recipe != before[0]
    assert plain.recipe == before[1]


def test_without_real_speech_its_rows_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--list"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("synthetic federated")
    assert "real" not in printed.out
    assert printed.err == "left out: rows on real speech need --data FOLDER (make compare DATA=FOLDER)\n"


def test_archives_that_cannot_be_used_are_named_before_anything_runs(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "speech_commands_v0.01"
    alone.mkdir()
    for arguments, named in (
        (["--data", str(tmp_path / "no")], f"DATA={tmp_path}/no: no such folder"),
        (["--data", str(alone)], f"DATA={alone}: no {TEST_FOLDER} next to it"),
        (["--data", "synthetic", "--test-data", str(tmp_path)], f"TEST_DATA={tmp_path}: goes with DATA="),
        (["--data", str(alone), "--test-data", str(tmp_path)], f"{alone}/validation_list.txt: missing"),
    ):
        assert compare.main([*arguments, "--list"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(named)
        assert error.count("\n") == 1
    elsewhere = small_corpus.parent / TEST_FOLDER
    copied = tmp_path / "copied" / small_corpus.name
    shutil.copytree(small_corpus, copied)
    assert compare.main(["--data", str(copied), "--test-data", str(elsewhere), "--list"]) == 0
    assert capsys.readouterr().out.startswith("real centralised")
    found = find_archives(str(small_corpus))
    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))
    clips = len(everything.get_dataset("train")), len(everything.get_dataset("test"))
    assert found == Archives(small_corpus, elsewhere, clips)


def test_the_finished_rows_of_a_comparison_that_failed_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "compare.json"
    monkeypatch.setattr(compare.Comparison, "run", lambda *_: 1)
    assert compare.main(["--results", str(results)]) == 1
    assert f"no rows in {results}: make compare" in capsys.readouterr().err
    job = next(job for job in compare.plan() if job.regime == "centralised")
    today = {"checkpoint": job.checkpoint, "recipe": job.recipe, "rounds": job.work.rounds}
    results.write_text(json.dumps({"rows": [comparison_row("centralised", 0.9, **today)]}))
    assert compare.main(["--results", str(results)]) == 1
    assert "| centralised |" in capsys.readouterr().out
    monkeypatch.setattr(compare.Comparison, "run", lambda *_: 0)
    assert compare.main(["--results", str(results)]) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--quick=yes"], "'yes'; legal: 0, 1"),
        (["--again=2"], "'2'; legal: 0, 1"),
        (["--seeds=-1"], "'-1'; legal: a whole number from 0"),
        (["--seeds", "0", "one"], "'one'; legal: a whole number from 0"),
    ],
)
def test_an_option_that_is_none_is_refused(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.main(options)
    assert named in capsys.readouterr().err


def test_a_text_in_no_runs_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--only", "fedsgd"]) == 2
    assert capsys.readouterr().err == "--only fedsgd: in no run's name; --list prints them\n"
    assert compare.main(["--only", "dirichlet"]) == 2
    told = "--only dirichlet: rows on real speech need --data FOLDER (make compare DATA=FOLDER)\n"
    assert capsys.readouterr().err == told


def test_rows_of_other_clips_and_of_the_quick_form_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Archives(tmp_path, tmp_path, clips=(60, 20))
    published = tmp_path / "compare.json"
    monkeypatch.setattr("benchmarks.compare.results.RESULTS", published)
    assert results_file(sample) == published  # nothing is there yet
    published.write_text(json.dumps({"rows": small_comparison()}))
    whole, own = replace(sample, clips=(2160, 720)), ROOT / "benchmarks" / "results" / "own"
    assert results_file(sample) == published
    assert results_file(None) == own / "compare-synthetic.json"
    assert results_file(whole) == own / "compare-2160-720.json"
    assert results_file(whole, quick=True) == own / "compare-quick-2160-720.json"
    assert results_file(sample, quick=True) == own / "compare-quick-60-20.json"
    assert results_file(None, quick=True) == own / "compare-quick-synthetic.json"


def test_the_kept_rows_are_of_the_sample() -> None:
    assert results_file(Archives(ROOT, ROOT, clips=(1480, 384))) == RESULTS


# The runs ----------------------------------------------------------------------------------------------


class CountedClips:
    """Counts how often each clip is read."""

    def __init__(self, clips: Any) -> None:
        self.clips, self.labels, self.read = clips, clips.labels, Counter[int]()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Any:
        self.read[index] += 1
        return self.clips[index]


def params(corpus: Path, partition: str = "iid") -> dict[str, str | int]:
    test = corpus.parent / "speech_commands_test_set_v0.01"
    return {"source": "folder", "data_dir": str(corpus), "test_dir": str(test), "partition": partition}


@pytest.mark.parametrize(
    "job",
    [Job(REAL, CENTRALISED), Job(REAL, CENTRALISED, share=0.5), Job(REAL, LOCAL, "iid", 2)],
    ids=lambda job: job.name,
)
def test_every_regime_trains_on_each_clip_equally_often(
    job: Job, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters: dict[tuple[int, str], CountedClips] = {}
    get_dataset = SuperbShardDescriptor.get_dataset

    def counted(shard: SuperbShardDescriptor, split: str) -> CountedClips:
        key = (shard.rank if shard.world_size > 1 else 0, split)
        return counters.setdefault(key, CountedClips(get_dataset(shard, split)))

    monkeypatch.setattr(SuperbShardDescriptor, "get_dataset", counted)
    job = replace(job, model="scratch", work=Work(2, 1))
    row = compare_local.run(job, params(small_corpus))
    reads = [
        count for (_, split), clips in counters.items() if split == "train" for count in clips.read.values()
    ]
    assert set(reads) == {2}
    assert sum(reads) == row["clips_seen"]
    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))
    assert row["clips_seen"] == 2 * round(job.share * len(get_dataset(everything, "train")))
    assert row["share"] == job.share


def test_envoys_alone_are_scored_on_everybodys_clips(small_corpus: Path) -> None:
    job = Job(REAL, LOCAL, "speaker", 2, model="scratch", work=Work(1, 1))
    row = compare_local.run(job, params(small_corpus, "speaker"))
    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))
    assert row["test_clips"] == len(everything.get_dataset("test"))
    scores = row["envoy_scores"].values()
    assert sum(score["test_clips"] for score in scores) == row["test_clips"]
    weights = [score["train_clips"] for score in scores]
    accuracies = [score["local_on_all"] for score in scores]
    assert row["test_accuracy"] == pytest.approx(np.average(accuracies, weights=weights))
    assert (row["bytes"], row["best_round"], len(row["curve"])) == (0, None, 2)


def test_noise_is_seeded_and_large() -> None:
    model = ModelSpec("scratch", SUPERB_LABELS).build()
    before = pack(model)
    compare_tasks.put_noise(model, 3)
    noise = pack(model)
    compare_tasks.put_noise(model, 3)
    assert np.array_equal(noise, pack(model))
    assert noise.std() == pytest.approx(compare_tasks.GARBAGE_SCALE, rel=0.01)
    assert noise.std() > 5 * before.std()


@pytest.fixture(scope="module")
def federation(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("compare")
    with Federation(folder, envoys=2, shard_params=params(small_corpus)) as running:
        yield running


JOB = Job(REAL, FEDERATED, "iid", 2, strategy="fedavg", model="scratch", work=Work(1, 1))


@pytest.mark.slow
@pytest.mark.federation
def test_a_federation_gives_the_row_of_its_run(federation: Federation, small_corpus: Path) -> None:
    job = replace(JOB, model="tiny")
    row = compare_federated.run(job, federation)
    assert tuple(row) == ENTRIES
    assert json.loads(json.dumps(row)) == row
    assert identity(row) == job.identity
    everything = SuperbShardDescriptor("1, 1", **params(small_corpus))
    assert row["test_clips"] == len(everything.get_dataset("test"))
    assert row["clips_seen"] == len(everything.get_dataset("train"))
    size = 4 * pack(ModelSpec("tiny", SUPERB_LABELS).build()).size
    assert row["bytes"] == size
    assert [point["bytes"] for point in row["curve"]] == [0, size]
    assert row["curve"][row["best_round"]]["validation"] == row["validation_accuracy"]
    assert set(row["classes"]) == set(SUPERB_LABELS)
    scores = row["envoy_scores"]
    pooled = sum(score["global"] * score["test_clips"] for score in scores.values()) / row["test_clips"]
    assert pooled == pytest.approx(row["test_accuracy"])
    for score in scores.values():
        assert 0 <= score["personalised"] <= 1


@pytest.mark.slow
@pytest.mark.federation
def test_envoys_train_on_a_share_of_their_clips(federation: Federation, small_corpus: Path) -> None:
    row = compare_federated.run(replace(JOB, share=0.5), federation)
    shards = [SuperbShardDescriptor(f"{rank}, 2", **params(small_corpus)) for rank in (1, 2)]
    halves = [round(0.5 * len(shard.get_dataset("train"))) for shard in shards]
    assert [score["train_clips"] for score in row["envoy_scores"].values()] == halves
    assert (row["share"], row["clips_seen"]) == (0.5, sum(halves))
    assert row["test_clips"] == sum(len(shard.get_dataset("test")) for shard in shards)


@pytest.mark.slow
@pytest.mark.federation
def test_an_envoy_that_sends_noise_spoils_the_plain_average(federation: Federation) -> None:
    row = compare_federated.run(replace(JOB, garbage=1), federation)
    assert row["garbage"] == 1
    # Half of the average is noise of twenty times the weights' size.
    assert row["curve"][1]["validation"] < 0.3
    assert not any("personalised" in score for score in row["envoy_scores"].values())


@pytest.mark.slow
@pytest.mark.federation
def test_the_command_runs_keeps_and_does_not_repeat(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "compare.json"
    jobs = [replace(JOB, regime=LOCAL, strategy=None), JOB]
    for module in (compare, results_module):
        monkeypatch.setattr(module, "plan", lambda *_, **__: jobs)
    command = ["--data", str(small_corpus), "--results", str(results)]
    assert compare.main(command) == 0
    assert {row["regime"] for row in load_rows(results)} == {LOCAL, FEDERATED}
    assert all(row["commit"] for row in load_rows(results))
    assert "0 runs failed" in capsys.readouterr().err
    kept = results.read_bytes()
    assert compare.main(command) == 0
    assert "2 of 2 rows are there" in capsys.readouterr().err
    assert results.read_bytes() == kept


@pytest.mark.slow
@pytest.mark.federation
def test_runs_on_a_federation_that_ends_count_as_failed(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: Any) -> None:
        raise DemoError("env_one has ended")

    monkeypatch.setattr(compare_federated, "run", ends)
    output = io.StringIO()
    comparison = compare.Comparison(
        find_archives(str(small_corpus)), tmp_path / "rows.json", Console(file=output, width=200)
    )
    assert comparison.run([JOB, replace(JOB, seed=1)]) == 1
    assert "env_one has ended" in output.getvalue()
    assert "not run to the end: " + ", ".join(job.name for job in (JOB, replace(JOB, seed=1))) in " ".join(
        output.getvalue().split()
    )
    assert "2 runs failed" in output.getvalue()


@pytest.mark.parametrize("content", ["", "[]", '{"row": []}', None])
def test_a_file_that_has_no_rows_is_named_before_anything_runs(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content, encoding="utf-8")
    assert compare.main(["--results", str(path)]) == 2
    assert f"{path} is no file of rows: " in capsys.readouterr().err
    assert report.main([str(path)]) == 1


def test_a_file_that_cannot_be_written_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "rows.json"
    assert compare.main(["--results", str(path)]) == 2
    assert f"{path} cannot be written: " in capsys.readouterr().err


def test_shards_are_told_where_the_clips_are_and_how_they_are_shared(tmp_path: Path) -> None:
    data = Archives(tmp_path / "train", tmp_path / "test")
    folders = {"data_dir": str(data.train), "test_dir": str(data.test)}
    assert shard_params(Job(REAL, CENTRALISED), data) == {"source": "folder", "seed": 0, **folders}
    skewed = replace(JOB, partition="dirichlet", envoys=4)
    assert shard_params(skewed, data) == {
        "source": "folder",
        "seed": 0,
        **folders,
        "partition": "dirichlet",
        "alpha": 0.3,
    }
    assert shard_params(replace(JOB, data="synthetic"), None) == {
        "source": "synthetic",
        "seed": 0,
        "partition": "iid",
    }
