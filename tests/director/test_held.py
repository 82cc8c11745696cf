"""Experiments that wait for the approval of the director's owner, while others may run."""

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

import held_experiments
from director_gate import Gate, GateSettings
from director_review import APPROVED, REJECTED
from experiment_store import ExperimentStore, Refused
from held_experiments import HeldExperiments


def small_archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("code.py", "")
    return data.getvalue()


async def chunks():
    yield bytes(4)


class Held:
    """One experiment that waits, in a store of its own."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.gate = Gate(
            GateSettings("manual", approval_seconds=seconds), "the director's owner", folder / "desk"
        )
        self.store = ExperimentStore(folder / "experiments")
        self.held = HeldExperiments(self.gate, self.store)
        self.archive = folder / "archive"
        self.archive.write_bytes(small_archive())
        self.submission = self.gate.look_through("x", "ann", small_archive())
        self.submitted: list[str] = []

    async def start(self) -> None:
        await self.store.create("x", "ann", ["env_one"], 1, chunks())
        self.held.hold(self.submission, self.archive, lambda: self.submitted.append("x"))
        while not self.gate.desk.waiting() and self.held.notice("x"):
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        while self.held.notice("x"):
            await asyncio.sleep(0.01)

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(record["task_name"], record["metric_name"]) for record in self.store.records("x")]


def run(held: Held, *answer: str) -> None:
    async def play() -> None:
        await held.start()
        assert held.submitted == []
        if answer:
            assert held.held.notice("x")["metric_name"] == f"x, digest {held.submission.digest}"
            held.gate.desk.decide(held.submission, *answer)
        await held.end()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_an_approved_experiment_is_submitted(tmp_path):
    held = Held(tmp_path, 60)
    run(held, APPROVED)
    assert held.submitted == ["x"]
    assert held.archive.exists()
    assert held.story == []
    assert held.store.manifest("x")["status"] == "pending"


@pytest.mark.parametrize(
    ("seconds", "answer", "reason"),
    [
        (60, (REJECTED, "no time"), "rejected by the director's owner: no time"),
        (0, (), "not approved by the director's owner within 0 s"),
    ],
)
def test_a_rejected_experiment_says_why_and_leaves_nothing_behind(tmp_path, seconds, answer, reason):
    held = Held(tmp_path, seconds)
    run(held, *answer)
    assert held.submitted == []
    assert held.story == [("failure", reason)]
    assert held.store.manifest("x")["status"] == "rejected"
    assert not held.archive.exists()
    assert not list((tmp_path / "desk").rglob("*.zip"))


def test_an_archive_that_cannot_be_kept_is_told_of(tmp_path, monkeypatch):
    held = Held(tmp_path, 60)

    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(held.gate, "show", fail)
    run(held)
    assert held.story == [("failure", "it cannot wait for its approval: no room")]
    assert held.store.manifest("x")["status"] == "rejected"
    assert not held.archive.exists()


def test_so_many_may_wait_and_no_more(tmp_path, monkeypatch):
    held = Held(tmp_path, 60)
    monkeypatch.setattr(held_experiments, "MOST_OF_A_USER", 1)

    async def play() -> None:
        held.held.require_room("ann")
        await held.start()
        held.held.require_room("bob")
        with pytest.raises(
            Refused, match="1 experiments of ann wait for approval, 1 in all; up to 1 of a user"
        ):
            held.held.require_room("ann")
        monkeypatch.setattr(held_experiments, "MOST_IN_ALL", 1)
        with pytest.raises(Refused, match="0 experiments of bob wait for approval, 1 in all"):
            held.held.require_room("bob")
        held.held.cancel("x")
        held.held.require_room("ann")

    asyncio.run(play())


def test_an_author_can_stop_what_waits(tmp_path):
    held = Held(tmp_path, 60)

    async def play() -> None:
        await held.start()
        assert held.held.cancel("x")
        assert not held.held.cancel("x")
        await asyncio.sleep(0.1)

    asyncio.run(play())
    assert held.submitted == []
    assert not held.archive.exists()
    assert held.gate.desk.waiting() == []
