"""Who may take part together: shards of one partition, each share once."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from demo.ports import free_ports
from superb_ks.settings import Addresses, Settings
from superb_notebook.connect import (
    FederationError,
    connect,
    require_disjoint_shards,
    shard_cards,
    shared_labels,
)
from superb_notebook.plots import plot_confusion, plot_shards, show
from tests.support.cards import ANY_CARDS, WHOLE


def card(rank: int, **changes: Any) -> dict[str, Any]:
    labels = ["yes", "no"]
    return {
        "labels": labels,
        "source": "synthetic",
        "partition": "iid",
        "rank": rank,
        "world_size": 3,
        **changes,
    }


def test_different_shares_of_one_partition_may_be_incomplete() -> None:
    cards = {"env_one": card(1), "env_two": card(3)}
    require_disjoint_shards(cards)
    assert shared_labels(cards) == ("yes", "no")


def test_a_forgotten_rank_is_named() -> None:
    with pytest.raises(FederationError, match="env_one and env_two hold the same clips: both have rank 1"):
        shared_labels({"env_one": card(1), "env_two": card(1)})


@pytest.mark.parametrize(
    "change",
    [{"world_size": 2}, {"partition": "speaker"}, {"source": "folder"}],
    ids=lambda change: next(iter(change)),
)
def test_shares_of_two_partitions_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FederationError, match="not of one partition"):
        require_disjoint_shards({"env_one": card(1), "env_two": card(2, **change)})


def test_recordings_of_ones_own_are_no_share() -> None:
    require_disjoint_shards({"clinic": {"labels": ["yes"]}, "phone": {"labels": ["yes"]}})


def at(**addresses: Any) -> Settings:
    return Settings(addresses=Addresses(**addresses))


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]"])
def test_plain_text_stays_on_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is sent: the network is not asked."""

    class Dialled(Exception):
        pass

    def dial(**_: Any) -> None:
        raise Dialled

    monkeypatch.setattr("superb_notebook.connect.Federation", dial)
    with pytest.raises(
        FederationError, match=rf"this machine only, and {re.escape(host)} is another: .*certificates"
    ):
        connect(at(director_host=host))
    for allowed in (at(director_host=host, insecure_allow_plaintext_on_network=True), Settings()):
        with pytest.raises(Dialled):
            connect(allowed)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_misspelt_name_is_told_from_another_machine(allowed: bool) -> None:
    settings = at(director_host="no-such-host.invalid", insecure_allow_plaintext_on_network=allowed)
    with pytest.raises(FederationError, match=r"^no such host: no-such-host\.invalid \(.+\)"):
        connect(settings)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_dialled_in_brackets(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = []

    class Dialled(Exception):
        pass

    def dial(**options: Any) -> None:
        dialled.append(options["director_node_fqdn"])
        raise Dialled

    monkeypatch.setattr("superb_notebook.connect.Federation", dial)
    with pytest.raises(Dialled):
        connect(at(director_host=host, insecure_allow_plaintext_on_network=True))
    assert dialled == ["[::1]"]


def test_a_name_that_nobody_answers_at_is_said_so() -> None:
    (port,) = free_ports(1)
    with pytest.raises(
        FederationError, match=rf"no director answers at localhost:{port} .*start_director.sh"
    ):
        connect(at(director_port=port))


class Registry:
    """Stands in for a federation whose director, another machine's, lists envoys with these descriptions."""

    def __init__(self, **descriptions: str) -> None:
        self._descriptions = descriptions

    def get_shard_registry(self) -> dict[str, Any]:
        return {
            name: {"is_online": True, "shard_info": SimpleNamespace(shard_description=text)}
            for name, text in self._descriptions.items()
        }


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_CARDS, st.sampled_from(["liar", "aggregator", "director", "a\x1b[2J", "../a"]))
def test_whatever_a_director_lists_the_honest_envoy_is_shown(
    caplog: pytest.LogCaptureFixture, description: str, name: str
) -> None:
    caplog.clear()
    honest = json.dumps({**WHOLE, "rank": 7, "world_size": 2})
    cards = shard_cards(Registry(**{"honest": honest, name: description}))
    assert cards["honest"]["rank"] == 7 and set(cards) <= {"honest", "liar"}
    said = [message for message in caplog.messages if " is left out: it has no valid shard card: " in message]
    assert len(said) == 2 - len(cards)
    assert all(message.isprintable() and message.startswith(name[:1]) for message in said)


# Letters that the plots' font has.
NAMES = st.text(st.characters(max_codepoint=0x24F), min_size=1, max_size=60).filter(str.isprintable)


@settings(max_examples=10, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
@example(["$\\frac{$", "<b>", "_"])
def test_a_class_may_be_called_whatever_the_schema_lets_it(labels: list[str]) -> None:
    clips = dict.fromkeys(("train", "val", "test"), {labels[0]: 3})
    cards = shard_cards(Registry(clinic=json.dumps({"labels": labels, "clips": clips})))
    assert shared_labels(cards) == tuple(labels)
    show(plot_shards(cards), "shards")
    show(plot_confusion(np.eye(len(labels), dtype=int), labels), "confusion")


def test_no_path_that_a_card_names_reaches_the_notebook() -> None:
    folders = {"data_dir": "/proc", "test_dir": "/home/me/Music"}
    (card,) = shard_cards(Registry(env_one=json.dumps({**WHOLE, **folders}))).values()
    assert not {"/proc", "/home/me/Music"} & set(map(str, card.values())) and not card.keys() & folders.keys()


def test_an_error_made_of_what_a_director_says_holds_nothing_that_a_terminal_obeys() -> None:
    assert str(FederationError("no: \x1b]0;owned\x07\nforged")) == "no: \\x1b]0;owned\\x07\n  forged"
