"""The director's memory of its experiments, on disk."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from superb_node.director.experiment_store import ExperimentStore, Refused

SIZE = 5


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def create(store: ExperimentStore, name: str = "first", model: bytes | None = None, size: int = SIZE) -> None:
    raw = np.arange(SIZE, dtype=np.float32).tobytes() if model is None else model
    asyncio.run(store.create(name, "notebook", ["env_one"], size, chunks(raw[:7], raw[7:])))


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../cert", "/etc", "a/b", "1a", "-a", "a b", "a.b", "ä", "a" * 64, "a\n", ".partial-a"],
)
def test_illegal_names_never_become_folders(store, name):
    for use in (store.folder, store.manifest, store.remove, lambda n: create(store, n)):
        with pytest.raises(Refused, match="legal: a letter"):
            use(name)
    assert not list(store.root.iterdir())


@pytest.mark.parametrize("name", ["a", "Z9", "exp-1_b", "a" * 63])
def test_legal_names(store, name):
    assert store.folder(name) == store.root / name


def test_an_experiment_appears_complete(store):
    from safetensors.numpy import load_file

    create(store)
    assert store.names() == ["first"]
    assert store.manifest("first")["status"] == "pending"
    model = load_file(store.folder("first") / "round-0.safetensors")["trained"]
    assert model.tolist() == list(range(SIZE))
    assert b"".join(store.model("first", "last")) == model.tobytes()
    with pytest.raises(Refused, match="no 'best' model"):
        next(store.model("first", "best"))
    with pytest.raises(Refused, match="legal: 'best' and 'last'"):
        next(store.model("first", "manifest.json"))


def test_a_name_is_taken_once(store):
    create(store)
    with pytest.raises(Refused, match="'first' exists; choose another name, or resume it"):
        create(store)


@pytest.mark.parametrize("model", [b"", b"1234", bytes(4 * SIZE + 1)])
def test_a_model_of_another_size_leaves_nothing(store, model):
    with pytest.raises(Refused, match=f"{4 * SIZE} were announced"):
        create(store, model=model)
    assert not list(store.root.iterdir())


def test_after_a_crash_running_ones_are_interrupted_and_halves_are_gone(store):
    for name, status in (("ran", "in_progress"), ("waited", "pending"), ("done", "finished")):
        create(store, name)
        store.update(name, status=status)
    (store.root / ".partial-half").mkdir()
    again = ExperimentStore(store.root)
    assert {name: again.manifest(name)["status"] for name in again.names()} == {
        "ran": "interrupted",
        "waited": "interrupted",
        "done": "finished",
    }
    assert not (store.root / ".partial-half").exists()


def test_foreign_folders_are_no_experiments(store):
    (store.root / "thesis").mkdir()
    (store.root / "with space").mkdir()
    (store.root / "with space" / "manifest.json").write_text("{}")
    assert store.names() == []
    with pytest.raises(Refused, match="no experiment named 'thesis'$"):
        store.manifest("thesis")


def test_a_torn_record_is_passed_over(store):
    create(store)
    store.append_failure("first", "no luck")
    with (store.folder("first") / "records.jsonl").open("a") as log:
        log.write('{"round": 1, ')
    assert [record["metric_name"] for record in store.records("first")] == ["no luck"]


def test_a_failure_is_told_once_and_that_of_a_resumed_experiment_too(store):
    create(store)
    store.append("first", "failure", "no luck")  # as the aggregator does
    store.append_failure("first", "env_one: no luck")
    store.append_failure("first", "ValueError: the model is damaged")
    told = [record["metric_name"] for record in store.records("first")]
    assert told == ["no luck", "ValueError: the model is damaged"]


def test_on_a_full_disk_the_end_is_told_from_memory(store):
    create(store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        store.update("first", status="failed")
        store.append_failure("first", "the disk is full")
        with pytest.raises(OSError, match="too large"):
            create(store, "second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.manifest("first")["status"] == "failed"
    assert [record["metric_name"] for record in store.records("first")] == ["the disk is full"]
    assert json.loads((store.folder("first") / "manifest.json").read_text())["status"] == "pending"
    assert store.names() == ["first"]
    store.update("first", note="there is room again")
    assert ExperimentStore(store.root).manifest("first")["status"] == "failed"


def test_an_unknown_name_is_answered_without_those_of_others(store):
    create(store, "secret-of-another")
    with pytest.raises(Refused) as refused:
        store.manifest("guess")
    assert str(refused.value) == "no experiment named 'guess'"
