"""The director's disk holds either the old round or the new one, never half of one."""

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from superb_ks.aggregator import checkpoint as state_module
from superb_ks.aggregator.checkpoint import ExperimentState, write_manifest
from superb_ks.aggregator.model_file import ModelFile, keep_as_spare, write_model
from superb_ks.transport.parts import PART_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment as the director makes it."""
    write_model(tmp_path / "round-0.safetensors", np.zeros(4, np.float32))
    manifest = {
        "round": 0,
        "last": "round-0.safetensors",
        "best": None,
        "best_round": None,
        "best_score": None,
    }
    write_manifest(tmp_path, {**manifest, "digests": {}})
    return tmp_path


@pytest.fixture
def opened() -> Iterator[Callable[[Path], ExperimentState]]:
    """Open a state; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_state(folder: Path) -> ExperimentState:
            return stack.enter_context(contextlib.closing(ExperimentState(folder)))

        yield open_state


def record(round_number: int, name: str = "loss") -> dict:
    origin = {"metric_origin": "env_one", "task_name": "train", "metric_value": 1.0}
    return {"round": round_number, "metric_name": name, **origin}


def vector(value: float) -> np.ndarray:
    return np.full(4, value, np.float32)


def test_a_model_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model(path, np.ones(4, np.float32))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="m.safetensors does not hold a packed model: 3 bytes are missing"):
        ModelFile(path)


def test_safetensors_reads_what_was_written(tmp_path):

    model = np.arange(PART_BYTES // 4 + 3, dtype=np.float32)
    write_model(tmp_path / "m.safetensors", model)
    assert np.array_equal(load_file(tmp_path / "m.safetensors")["trained"], model)
    file = ModelFile(tmp_path / "m.safetensors")
    assert b"".join(bytes(file.part(number)) for number in range(2)) == model.tobytes()
    with pytest.raises(ValueError, match="no part 2; the model has 2"):
        file.part(2)


@pytest.mark.parametrize(
    "content", [b"", b"1234", b"\x08" + bytes(7) + b"no json!", b"\x02" + bytes(7) + b"{}"]
)
def test_another_file_is_no_model(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="m.safetensors does not hold a packed model"):
        ModelFile(tmp_path / "m.safetensors")


def test_rounds_are_published_and_old_models_go(folder, opened):
    state = opened(folder)
    state.publish(1, vector(1))
    state.mark_best(0.5)
    state.publish(2, vector(2))
    state.publish(3, None)
    again = opened(folder)
    assert again.manifest["round"] == 3
    assert np.array_equal(again.last.read(), vector(2))
    assert np.array_equal(again.best.read(), vector(1))
    assert (again.manifest["best_round"], again.manifest["best_score"]) == (1, 0.5)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "round-1.safetensors",
        "round-2.safetensors",
    ]
    assert not list(folder.glob(".*partial"))


def test_the_best_model_counts_at_once_and_the_one_before_is_written_over(folder, opened):
    state = opened(folder)
    state.mark_best(0.4)
    state.publish(1, vector(1))
    assert not (folder / ".spare").exists()
    state.mark_best(0.5)  # of the model of round 1; that of round 0 is not needed any more
    assert (folder / ".spare").exists()
    killed = opened(folder)
    assert (killed.manifest["round"], killed.manifest["best_round"]) == (1, 1)
    assert np.array_equal(killed.best.read(), vector(1))
    assert np.array_equal(killed.last.read(), vector(1))
    state.publish(2, vector(2))
    assert not (folder / ".spare").exists()
    assert np.array_equal(opened(folder).last.read(), vector(2))


@pytest.mark.parametrize("breaks_at", ["write", "replace_model", "replace_manifest"])
def test_a_crash_while_publishing_leaves_the_old_round(folder, opened, monkeypatch, breaks_at):
    state = opened(folder)
    state.publish(1, vector(1))
    replace = os.replace

    def crash(source: Path, target: Path) -> None:
        if (breaks_at == "replace_manifest") == (Path(target).name == "manifest.json"):
            raise OSError("power cut")
        replace(source, target)

    monkeypatch.setattr(state_module.os, "replace", crash)
    if breaks_at == "write":
        monkeypatch.setattr(state_module, "write_manifest", crash_always)
    with pytest.raises(OSError, match="power cut"):
        state.publish(2, vector(2))
    monkeypatch.undo()
    again = opened(folder)
    assert again.manifest["round"] == 1
    assert np.array_equal(again.last.read(), vector(1))
    again.publish(2, vector(2))
    assert np.array_equal(opened(folder).last.read(), vector(2))


def crash_always(*_: object) -> None:
    raise OSError("power cut")


def test_sigkill_in_the_middle_of_publishing(folder, opened):
    """A process that publishes without pause is killed; what it leaves can be read."""
    source = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from superb_ks.aggregator.checkpoint import ExperimentState\n"
        "state = ExperimentState(Path(sys.argv[1]))\n"
        "for number in range(1, 10**6):\n"
        "    state.publish(number, np.full(4, number, np.float32)); print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", source, str(folder)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=path) as writer:
        for _ in range(20):
            writer.stdout.readline()
        writer.kill()
    state = opened(folder)
    assert state.manifest["round"] >= 20
    assert np.array_equal(state.last.read(), vector(state.manifest["round"]))


def test_records_of_an_unfinished_round_are_dropped(folder, opened):
    state = opened(folder)
    state.append([record(0)])
    state.publish(1, vector(1))
    state.append([record(1), record(1, "clips")])
    state.close()
    again = opened(folder)
    assert again.records() == [record(0)]
    again.append([record(1, "again")])
    again.close()
    lines = (folder / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["metric_name"] for line in lines] == ["loss", "again"]


def test_a_torn_last_line_is_passed_over(folder, opened):
    state = opened(folder)
    state.append([record(0)])
    state.publish(1, None)
    state.close()
    with (folder / "records.jsonl").open("a") as log:
        log.write('{"round": 0, "metr')
    assert opened(folder).records() == [record(0)]


def test_a_full_disk_adds_nothing_and_the_log_can_be_closed(folder, opened):
    state = opened(folder)
    state.append([record(0)])
    before = (folder / "records.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left|too large"):
            state.append([record(0, "too much")])
        state.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "records.jsonl").read_bytes() == before


def test_a_retired_file_is_written_over_but_not_under_a_reader(tmp_path: Path) -> None:
    first, spare = tmp_path / "first", tmp_path / "spare"
    write_model(first, np.full(1000, 1, np.float32))
    with first.open("rb") as reader:  # the notebook is fetching it
        keep_as_spare(first, spare)
        assert not spare.exists()
        write_model(tmp_path / "second", np.full(1000, 2, np.float32), spare)
        assert np.frombuffer(reader.read()[-4000:], np.float32).tolist() == [1.0] * 1000
    inode = (tmp_path / "second").stat().st_ino
    keep_as_spare(tmp_path / "second", spare)
    write_model(tmp_path / "third", np.full(900, 3, np.float32), spare)
    assert (tmp_path / "third").stat().st_ino == inode
    assert ModelFile(tmp_path / "third").read().tolist() == [3.0] * 900
    assert load_file(tmp_path / "third")["trained"].shape == (900,)  # as the library reads it


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_model_that_is_not_finite_is_not_published(folder, opened, bad):
    state = opened(folder)
    state.publish(1, vector(1))
    with pytest.raises(
        ValueError, match=r"^values of round-2.safetensors are not finite \(NaN or infinity\)$"
    ):
        state.publish(2, np.asarray([1, bad, 0, 0], np.float32))
    again = opened(folder)
    assert again.manifest["round"] == 1
    assert np.array_equal(again.last.read(), vector(1))


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_model_on_the_disk_that_is_not_finite_is_named_in_one_line(folder, opened, which):
    state = opened(folder)
    state.mark_best(0.5)
    state.publish(1, vector(1))
    damaged = folder / state.manifest[which]
    damaged.write_bytes(damaged.read_bytes()[:-4] + np.float32("nan").tobytes())
    with pytest.raises(ValueError, match=rf"^values of {damaged.name} are not finite \(NaN or infinity\)$"):
        ExperimentState(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_manifest_with_what_is_no_number_is_refused_in_one_line(folder, number):
    """A best score of NaN would let no later model be the best, in silence."""
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    poisoned = text.replace('"best_score": null', f'"best_score": {number}')
    assert poisoned != text
    (folder / "manifest.json").write_text(poisoned, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^manifest.json cannot be read: {number} is no number$"):
        ExperimentState(folder)


def test_a_manifest_never_gets_what_is_no_number(folder, opened):
    before = (folder / "manifest.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        opened(folder).mark_best(float("nan"))
    assert (folder / "manifest.json").read_text(encoding="utf-8") == before
