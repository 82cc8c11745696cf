"""The clients of a run, as the server knows them: their names, and what each one's shard holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from superb_flower import messages
from superb_flower.answers import Answer, ask
from superb_flower.errors import RunFailed
from superb_ks.settings import Failures
from superb_node.names import fault_of_envoy_name
from superb_node.shard_card import NoCard, clips_by_split

WAIT_SECONDS = 60.0
"""So long the server waits for as many clients as an experiment needs."""
CARD_SECONDS = 300.0
"""So long it waits for what a client holds."""
AT_A_TIME = 100
"""Clients that are asked at once what they hold."""


@dataclass(frozen=True)
class Clients:
    """Flower's nodes by the names of their owners.

    Attributes:
        nodes: Flower's number of each client, by name.
        cards: the shard card of each, by name.
    """

    nodes: dict[str, int]
    cards: dict[str, dict[str, Any]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, which all of them have."""
        return tuple(self.cards[self.names[0]]["labels"])

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.nodes)

    def having(self, split: str) -> list[str]:
        """The names of those with clips of a split, sorted: a simulated client may lack one."""
        return [name for name in self.names if self.clips_of(name)[split]]

    def clips_of(self, name: str) -> dict[str, int]:
        """How many clips a client's card counts in each split."""
        return clips_by_split(self.cards[name])


def find_clients(grid: Grid, failures: Failures, drop: Callable[[str, str], None]) -> Clients:
    """Ask every node that is connected who it is and what it holds.

    Args:
        grid: reaches the nodes.
        failures: how many there must be, and whether one that cannot take part ends the run.
        drop: gets name, or number, and fault of such a one if the run goes on.

    Raises:
        RunFailed: too few are connected, one cannot open its shard, a name is illegal or taken twice, or
            they differ in their classes.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while len(ids := list(grid.get_node_ids())) < failures.min_envoys:
        if time.monotonic() > deadline:
            hint = "" if ids else "; start a SuperNode: cd envoy && bash start_supernode.sh"
            raise RunFailed(f"{len(ids)} clients are connected, min_envoys is {failures.min_envoys}{hint}")
        time.sleep(0.5)
    nodes: dict[str, int] = {}
    cards: dict[str, dict[str, Any]] = {}
    for answer in _describe(grid, sorted(ids)):
        name, card = _card_in(answer)
        if card is None:
            # One that is out of reach has failed at nothing: a SuperNode that died is listed for a minute.
            if failures.on_task_error == "fail" and (answer.failed or answer.reply is not None):
                raise RunFailed(f"client {answer.node} cannot take part: {name}")
            drop(f"client {answer.node}", f"cannot take part: {name}")
            continue
        if name in nodes:
            raise RunFailed(f"two clients are named {name}; each needs a name of its own")
        nodes[name], cards[name] = answer.node, card
    if len(nodes) < failures.min_envoys:
        raise RunFailed(f"{len(nodes)} clients can take part, min_envoys is {failures.min_envoys}")
    _require_same_classes(cards)
    return Clients(nodes, cards)


def _card_in(answer: Answer) -> tuple[str, dict[str, Any] | None]:
    """Return name and shard card of a client, or why it has none."""
    if answer.reply is None:
        return answer.fault, None
    try:
        name, card = messages.card_of(answer.reply)
    except (KeyError, NoCard) as error:
        return f"it has no card: {error}", None
    fault = fault_of_envoy_name(name)
    return (fault, None) if fault else (name, card)


def _describe(grid: Grid, ids: list[int]) -> Iterator[Answer]:
    """Ask the nodes in turn: a simulation looks, for each node, through all messages that wait."""
    for start in range(0, len(ids), AT_A_TIME):
        questions = [Message(RecordDict(), node, "query") for node in ids[start : start + AT_A_TIME]]
        yield from ask(grid, questions, CARD_SECONDS)


def require_splits(clients: Clients) -> None:
    """Make sure that a run can train, choose the best model and test it.

    Raises:
        RunFailed: no client has clips for one of these.
    """
    for split, words in (("train", "training"), ("val", "validation"), ("test", "test")):
        if not clients.having(split):
            raise RunFailed(f"no client has {words} clips")


def require_classes(clients: Clients, of_model: Sequence[str]) -> None:
    """Make sure that the clients have the classes of the experiment's model.

    Raises:
        RunFailed: they have others.
    """
    if clients.labels != tuple(of_model):
        raise RunFailed(
            f"the clients have the classes {' '.join(clients.labels)}, "
            f"and the experiment's model {' '.join(of_model)}"
        )


def _require_same_classes(cards: dict[str, dict[str, Any]]) -> None:
    labels = {name: tuple(card["labels"]) for name, card in cards.items()}
    first = min(labels)
    for name, own in labels.items():
        if own != labels[first]:
            raise RunFailed(
                f"{name} has the classes {' '.join(own)}, and {first} has {' '.join(labels[first])}"
            )
