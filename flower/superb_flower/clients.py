"""The clients of a run, as the server knows them: their names, and what each one's shard holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from superb_flower import messages
from superb_flower.answers import Answer, ask
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
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.nodes)

    def having(self, split: str) -> list[str]:
        """The names of those with clips of a split, sorted: a simulated client may lack one."""
        return [name for name in self.names if self.clips_of(name)[split]]

    def clips_of(self, name: str) -> dict[str, int]:
        """How many clips a client's card counts in each split."""
        return clips_by_split(self.cards[name])


def find_clients(grid: Grid, at_least: int) -> Clients:
    """Ask every node that is connected who it is and what it holds.

    Raises:
        RuntimeError: too few are connected, one cannot open its shard, a name is illegal or of two, or they
            differ in their classes.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while len(ids := list(grid.get_node_ids())) < at_least:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(ids)} clients are connected, min_envoys is {at_least}")
        time.sleep(0.5)
    nodes: dict[str, int] = {}
    cards: dict[str, dict[str, Any]] = {}
    for answer in _describe(grid, sorted(ids)):
        if answer.reply is None:
            raise RuntimeError(f"client {answer.node} cannot take part: {answer.fault}")
        try:
            name, card = messages.card_of(answer.reply)
        except (KeyError, NoCard) as error:
            raise RuntimeError(f"client {answer.node} cannot take part: it has no card: {error}") from error
        if fault := fault_of_envoy_name(name):
            raise RuntimeError(fault)
        if name in nodes:
            raise RuntimeError(f"two clients are named {name}; each needs a name of its own")
        nodes[name], cards[name] = answer.node, card
    _require_same_classes(cards)
    return Clients(nodes, cards)


def _describe(grid: Grid, ids: list[int]) -> Iterator[Answer]:
    """Ask the nodes in turn: a simulation looks, for each node, through all messages that wait."""
    for start in range(0, len(ids), AT_A_TIME):
        questions = [Message(RecordDict(), node, "query") for node in ids[start : start + AT_A_TIME]]
        yield from ask(grid, questions, CARD_SECONDS)


def require_classes(clients: Clients, of_model: Sequence[str]) -> None:
    """Make sure that the clients have the classes of the experiment's model.

    Raises:
        RuntimeError: they have others.
    """
    own = clients.cards[clients.names[0]]["labels"]
    if list(own) != list(of_model):
        raise RuntimeError(
            f"the clients have the classes {' '.join(own)}, and the experiment's model {' '.join(of_model)}"
        )


def _require_same_classes(cards: dict[str, dict[str, Any]]) -> None:
    labels = {name: tuple(card["labels"]) for name, card in cards.items()}
    first = min(labels)
    for name, own in labels.items():
        if own != labels[first]:
            raise RuntimeError(
                f"{name} has the classes {' '.join(own)}, and {first} has {' '.join(labels[first])}"
            )
