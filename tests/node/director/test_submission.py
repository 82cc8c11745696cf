"""What the director takes in, and what it refuses before it stores anything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openfl.protocols import base_pb2, director_pb2

from superb_node.director import pending_approvals
from superb_node.director.director import Director
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import Busy
from superb_node.director.submission import receive_submission
from tests.support.experiments import experiment_text
from tests.support.open_gate import open_gate


@pytest.fixture
def director(tmp_path: Path) -> Director:
    return Director(
        experiments_folder=tmp_path / "experiments",
        gate=open_gate(tmp_path),
        tls=False,
        envoy_health_check_period=5,
        sample_shape=["16000"],
        target_shape=["1"],
    )


def submit(
    director: Director, name: str, *envoys: str, caller: str = "ann", resume: bool = False, **settings: Any
) -> None:
    """Submit an experiment with a model of one weight; nothing runs it, so it stays in the queue."""

    async def messages() -> AsyncIterator[director_pb2.ExperimentInfo]:
        text = experiment_text(**settings)
        head = director_pb2.ExperimentInfo(name=name, collaborator_names=envoys)
        head.experiment_data.size, head.experiment_data.npbytes = len(text), text
        if not resume:
            size = base_pb2.MetadataProto(int_list=[1])
            head.model_proto.tensors.append(base_pb2.NamedTensor(name="trained", transformer_metadata=[size]))
        yield head
        if not resume:
            model = director_pb2.ExperimentInfo()
            model.experiment_data.npbytes = bytes(4)
            yield model

    asyncio.run(receive_submission(director, messages(), caller, "50051"))


def test_an_experiment_without_envoys_is_refused(director: Director) -> None:
    with pytest.raises(Refused, match="^0 envoys are enrolled; legal: 1 to 1,000$"):
        submit(director, "x")
    assert director.experiments.names() == director.experiments_registry.waiting == []


def test_those_take_part_whom_the_text_names(director: Director) -> None:
    for enrolled, named in {("a",): "b", ("a", "b", "c"): "c", ("a", "b", "b"): "b"}.items():
        with pytest.raises(Refused, match=f"envoys and those that are enrolled differ in {named}$"):
            submit(director, "x", *enrolled, envoys=("a", "b"))
    assert director.experiments.names() == []
    submit(director, "x", "b", "a", envoys=("a", "b"))
    assert director.experiments.manifest("x")["collaborators"] == ["b", "a"]


def test_what_waits_for_its_turn_counts_as_what_waits_for_approval(
    director: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_approvals, "MAX_PENDING_PER_USER", 2)
    for name in ("one", "two"):
        submit(director, name, "env_one")
    submit(director, "bobs", "env_one", caller="bob")
    for resume in (False, True):
        with pytest.raises(Busy, match="2 experiments of ann wait for approval or for their turn, 3 in all"):
            submit(director, "three", "env_one", resume=resume)
    assert director.experiments.names() == ["one", "two", "bobs"]
    director.authors.stop("one", "ann")
    submit(director, "one", "env_one", resume=True)
    assert [each.sender for each in director.experiments_registry.waiting] == ["ann", "bob", "ann"]
