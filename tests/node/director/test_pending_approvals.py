"""Experiments that wait for the approval of the director's owner, while others may run."""

import asyncio
from pathlib import Path

import pytest

from superb_node.approval.gate import Gate
from superb_node.approval.settings import GateSettings
from superb_node.approval.store import APPROVED, REJECTED
from superb_node.director import pending_approvals
from superb_node.director.experiment_store import ExperimentStore
from superb_node.director.limits import Busy
from superb_node.director.pending_approvals import PendingApprovals
from tests.support.experiments import experiment_text


async def chunks():
    yield bytes(4)


class Waiting:
    """One experiment that waits, in a store of its own."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.gate = Gate(
            GateSettings("manual", approval_seconds=seconds), "the director's owner", folder / "approval"
        )
        self.store = ExperimentStore(folder / "experiments")
        self.pending = PendingApprovals(self.gate, self.store)
        self.text = experiment_text()
        self.submission = self.gate.inspect("x", "ann", self.text)
        self.submitted: list[str] = []

    async def start(self) -> None:
        await self.store.create("x", "ann", ["env_one"], 1, chunks())
        self.pending.add(self.submission, self.text, lambda: self.submitted.append("x"))
        while not self.gate.store.pending() and self.pending.notice("x"):
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        while self.pending.notice("x"):
            await asyncio.sleep(0.01)

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(record["task_name"], record["metric_name"]) for record in self.store.records("x")]


def run(waiting: Waiting, *answer: str) -> None:
    async def play() -> None:
        await waiting.start()
        assert waiting.submitted == []
        if answer:
            assert waiting.pending.notice("x")["metric_name"] == f"x, digest {waiting.submission.digest}"
            waiting.gate.store.record_decision(waiting.submission, *answer)
        await waiting.end()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_an_approved_experiment_is_submitted(tmp_path):
    waiting = Waiting(tmp_path, 60)
    run(waiting, APPROVED)
    assert waiting.submitted == ["x"]
    assert waiting.story == []
    assert waiting.store.manifest("x")["status"] == "pending"


@pytest.mark.parametrize(
    ("seconds", "answer", "reason"),
    [
        (60, (REJECTED, "no time"), "rejected by the director's owner: no time"),
        (0, (), "not approved by the director's owner within 0 s"),
    ],
)
def test_a_rejected_experiment_says_why_and_leaves_nothing_behind(tmp_path, seconds, answer, reason):
    waiting = Waiting(tmp_path, seconds)
    run(waiting, *answer)
    assert waiting.submitted == []
    assert waiting.story == [("failure", reason)]
    assert waiting.store.manifest("x")["status"] == "rejected"
    assert not list((tmp_path / "approval").rglob("*.experiment"))


def test_a_text_that_cannot_be_kept_is_told_of(tmp_path, monkeypatch):
    waiting = Waiting(tmp_path, 60)

    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(waiting.gate, "show", fail)
    run(waiting)
    assert waiting.story == [("failure", "it cannot wait for its approval: no room")]
    assert waiting.store.manifest("x")["status"] == "rejected"


def test_so_many_may_wait_and_no_more(tmp_path, monkeypatch):
    waiting = Waiting(tmp_path, 60)
    monkeypatch.setattr(pending_approvals, "MAX_PENDING_PER_USER", 1)

    def require_place(author: str, *in_queue: str) -> None:
        with waiting.pending.place(author, in_queue):
            pass

    async def play() -> None:
        require_place("ann")
        require_place("ann")
        await waiting.start()
        require_place("bob")
        with pytest.raises(
            Busy, match="1 experiments of ann wait for approval or for their turn, 1 in all; legal: 1 of a"
        ):
            require_place("ann")
        with pytest.raises(Busy, match="1 experiments of bob wait .*, 2 in all"):
            require_place("bob", "bob")
        with waiting.pending.place("bob", []), pytest.raises(Busy, match="1 experiments of bob wait"):
            require_place("bob")  # while the model of the first arrives
        monkeypatch.setattr(pending_approvals, "MAX_PENDING", 1)
        with pytest.raises(Busy, match="0 experiments of bob wait .*, 1 in all"):
            require_place("bob")
        waiting.pending.cancel("x")
        require_place("ann")

    asyncio.run(play())


def test_an_author_can_stop_what_waits(tmp_path):
    waiting = Waiting(tmp_path, 60)

    async def play() -> None:
        await waiting.start()
        assert waiting.pending.cancel("x")
        assert not waiting.pending.cancel("x")
        await asyncio.sleep(0.1)

    asyncio.run(play())
    assert waiting.submitted == []
    assert waiting.gate.store.pending() == []
