"""The notebook's side without a federation: names, classes, and an address where nobody answers."""

import json
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest

from superb_ks import experiment as experiment_module
from superb_ks.experiment import MAX_ARCHIVE_BYTES, FederatedExperiment
from superb_ks.federation import FederationError, connect, shard_cards, shared_labels
from superb_ks.miniature import CHECKPOINT
from superb_ks.model import ModelSpec
from superb_ks.settings import Settings

PACKAGE = Path(experiment_module.__file__).parent
CHECKPOINT_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_an_unknown_director_is_named_with_what_to_do():
    port = closed_port()
    with pytest.raises(
        FederationError, match=rf"no director answers at localhost:{port} .*start_director.sh"
    ):
        connect(Settings(director_port=port))


@pytest.mark.parametrize("name", ["", "1st", "a b", "../cert", "a/b", "a" * 64, "ä", "a.b", "-a"])
def test_illegal_names_are_refused_before_anything_is_made(name):
    with pytest.raises(ValueError, match="experiment name .*legal are a letter"):
        FederatedExperiment(None, name)


class Registry:
    """Stands in for a federation whose director knows these shards."""

    def __init__(self, **shards: tuple[bool, list[str]]) -> None:
        self.shards = shards

    def get_shard_registry(self) -> dict:
        info = type("Info", (), {})
        registry = {}
        for name, (online, labels) in self.shards.items():
            shard = info()
            shard.shard_description = json.dumps({"labels": labels})
            registry[name] = {"is_online": online, "shard_info": shard}
        return registry


def test_cards_of_those_online_in_the_order_of_names():
    cards = shard_cards(Registry(b=(True, ["x"]), a=(True, ["x"]), c=(False, ["y"])))
    assert list(cards) == ["a", "b"]
    assert shared_labels(cards) == ("x",)


def test_shards_with_different_classes_are_named():
    with pytest.raises(FederationError, match="a, c: yes no; b: yes up"):
        shared_labels({name: {"labels": ["yes", "up" if name == "b" else "no"]} for name in "abc"})
    with pytest.raises(FederationError, match="no envoy is online"):
        shared_labels({})


def test_equal_settings_make_different_plans():
    """A collaborator of another submission must not be taken for one of this (its id is the plan's hash)."""
    first, second = (experiment_module._plan_changes(Settings()) for _ in range(2))
    assert first != second
    assert {key for key in first if first[key] != second[key]} == {"submission.settings.id"}


def test_the_plan_carries_the_strategy_as_flat_entries():
    """OpenFL takes no dictionary among the changes of its plan."""
    plan = experiment_module._plan_changes(Settings(strategy="trimmed_mean", trim_fraction=0.1))
    prefix = "aggregator.settings.strategy"
    assert {key: value for key, value in plan.items() if key.startswith(prefix)} == {
        prefix: "trimmed_mean",
        f"{prefix}_parameters.trim_fraction": 0.1,
    }


def packed(folder: Path, monkeypatch: pytest.MonkeyPatch, **pickles: bytes) -> FederatedExperiment:
    """Return an experiment whose staging folder is `folder`, ready to be packed."""
    (folder / "plan").mkdir()
    (folder / "plan" / "plan.yaml").write_text("rounds: 1")
    for name, content in pickles.items():
        (folder / f"{name}.pkl").write_bytes(content)
    monkeypatch.chdir(folder)
    return object.__new__(FederatedExperiment)


def names_in(archive: str) -> set[str]:
    with zipfile.ZipFile(archive) as content:
        return {name for name in content.namelist() if not name.endswith("/")}


def test_only_sources_are_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = packed(tmp_path, monkeypatch, task=b"x")
    (tmp_path / "notes.txt").touch()
    names = names_in(experiment._pack_the_workspace())
    sources = {f"superb_ks/{path.name}" for path in PACKAGE.glob("*.py")}
    assert "superb_ks/model.py" in sources
    assert names == sources | {"plan/plan.yaml", "task.pkl"}


def test_the_pretrained_miniature_is_shipped_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = names_in(packed(tmp_path, monkeypatch)._pack_the_workspace(with_checkpoint=True))
    shipped = {name for name in names if name.startswith("superb_ks/tiny/")}
    assert {f"superb_ks/tiny/{name}" for name in CHECKPOINT_FILES} <= shipped
    assert shipped == {f"superb_ks/tiny/{path.name}" for path in CHECKPOINT.iterdir()}
    for name, ships in (("tiny", True), ("scratch", False), ("facebook/wav2vec2-base", False)):
        assert ModelSpec(name, ("yes", "no")).travels is ships


def test_an_archive_that_caught_a_large_object_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    noise = np.random.default_rng(0).bytes(MAX_ARCHIVE_BYTES)
    experiment = packed(tmp_path, monkeypatch, task=noise)
    with pytest.raises(
        FederationError, match=f"{MAX_ARCHIVE_BYTES} are allowed; does a task refer to a large"
    ):
        experiment._pack_the_workspace()
