"""Who takes part in a run on Flower: every node by the name on its card, or a line that says why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, RecordDict
from flwr.common.constant import ErrorCode
from superb_flower import clients, messages
from superb_flower.clients import find_clients
from superb_flower.errors import RunFailed

from superb_ks.settings import Failures
from superb_node.names import fault_of_envoy_name
from superb_node.shard_card import SPLITS
from tests.support.grid import Nodes

pytestmark = pytest.mark.usefixtures("process_of_a_run")


def test_a_client_without_a_card_is_named_and_may_be_left_out() -> None:
    fault = "cannot take part: it has no card: 'card'"
    dropped: list[tuple[str, str]] = []
    grid = Nodes({7: messages.report("x", {}, None)})
    with pytest.raises(RuntimeError, match=f"client 7 {fault}"):
        find_clients(grid, Failures(), lambda *each: dropped.append(each))
    assert dropped == []
    with pytest.raises(RuntimeError, match="0 clients can take part, min_envoys is 1"):
        find_clients(grid, Failures(on_task_error="continue"), lambda *each: dropped.append(each))
    assert dropped == [("client 7", fault)]


def test_a_client_out_of_reach_does_not_end_a_run() -> None:
    """A SuperNode that died is listed for a minute, and Flower answers for it."""
    dropped: list[tuple[str, str]] = []
    grid = Nodes({7: Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat")})
    with pytest.raises(RunFailed, match="0 clients can take part, min_envoys is 1"):
        find_clients(grid, Failures(), lambda *each: dropped.append(each))
    assert dropped == [("client 7", "cannot take part: no heartbeat")]


def card(name: str, *labels: str) -> RecordDict:
    """How a client with some classes describes itself."""
    clips = {split: dict.fromkeys(labels, int(split == "train")) for split in SPLITS}
    told = json.dumps({"labels": labels, "clips": clips})
    return RecordDict({messages.CLIENT: ConfigRecord({"name": name, "card": told})})


def found(*cards: RecordDict, **failures: Any) -> clients.Clients:
    """What is found of nodes with these cards, numbered from 1; none may be left out."""
    grid = Nodes(dict(enumerate(cards, start=1)))
    return find_clients(grid, Failures(**failures), lambda *each: pytest.fail(f"left out: {each}"))


def test_clients_are_known_by_the_names_on_their_cards() -> None:
    there = found(card("env_two", "yes", "no"), card("env_one", "yes", "no"), min_envoys=2)
    assert there.nodes == {"env_two": 1, "env_one": 2}
    assert (there.names, there.labels) == (["env_one", "env_two"], ("yes", "no"))
    assert (there.having("train"), there.having("val")) == (["env_one", "env_two"], [])


@pytest.mark.parametrize(
    ("cards", "min_envoys", "words"),
    [
        (
            [],
            1,
            "0 clients are connected, min_envoys is 1; start a SuperNode: "
            "cd envoy && bash start_supernode.sh",
        ),
        ([card("env_one", "yes", "no")], 2, "1 clients are connected, min_envoys is 2"),
        (
            [card("env_one", "yes", "no"), card("env_one", "yes", "no")],
            1,
            "two clients are named env_one; each needs a name of its own",
        ),
        (
            [card("env one", "yes", "no")],
            1,
            f"client 1 cannot take part: {fault_of_envoy_name('env one')}",
        ),
        (
            [card("env_two", "yes", "up"), card("env_one", "yes", "no"), card("env_six", "yes", "no")],
            1,
            "env_two has the classes yes up, and env_one has yes no",
        ),
    ],
)
def test_clients_that_cannot_make_a_run(
    cards: list[RecordDict], min_envoys: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "WAIT_SECONDS", 0.0)
    with pytest.raises(RunFailed) as failed:
        found(*cards, min_envoys=min_envoys)
    assert str(failed.value) == words


def test_a_model_has_the_clients_classes() -> None:
    there = found(card("env_one", "yes", "no"))
    clients.require_classes(there, ["yes", "no"])
    with pytest.raises(RunFailed) as failed:
        clients.require_classes(there, ["no", "yes"])
    assert str(failed.value) == "the clients have the classes yes no, and the experiment's model no yes"
