"""Who may take part together: shards of one partition, each share once."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from demo.federation import free_ports
from superb_ks.settings import Addresses, Settings
from superb_notebook.connect import (
    FederationError,
    connect,
    require_disjoint_shards,
    shard_cards,
    shared_labels,
)
from superb_notebook.plots import plot_shards


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


WHOLE = {"labels": ["yes", "no"], "clips": dict.fromkeys(("train", "val", "test"), {"yes": 3, "no": 2})}


class Registry:
    """Stands in for a federation whose director knows envoys by these descriptions."""

    tls = False

    def __init__(self, **descriptions: str) -> None:
        self._descriptions = descriptions

    def get_shard_registry(self) -> dict[str, Any]:
        return {
            name: {"is_online": True, "shard_info": SimpleNamespace(shard_description=text)}
            for name, text in self._descriptions.items()
        }


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("Recordings of our clinic, 2019 to 2025.", "'Recordings of our clinic, 2019 to 2025.' is not JSON"),
        ("", "'' is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "it is not a JSON object"),
        ('"text"', "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("{}", "its `labels` is no list of class names"),
        (json.dumps({**WHOLE, "labels": "yes"}), "its `labels` is no list of class names"),
        (json.dumps({**WHOLE, "labels": [1, 2]}), "its `labels` is no list of class names"),
        (json.dumps({"labels": ["yes"]}), "its `clips` has no numbers by class for train"),
        (json.dumps({**WHOLE, "clips": 7}), "its `clips` has no numbers by class for train"),
        (json.dumps({**WHOLE, "clips": {"train": {"yes": 1}}}), "no numbers by class for val"),
        (json.dumps({**WHOLE, "clips": {"train": {"yes": "many"}}}), "no numbers by class for train"),
        (json.dumps({**WHOLE, "clips": dict.fromkeys(("train", "val", "test"), {})}), "no training clips"),
        (json.dumps({**WHOLE, "rank": "first"}), "its `rank` is 'first'"),
        (json.dumps({**WHOLE, "source": None}), "its `source` is 'None'"),
        (json.dumps({**WHOLE, "test_dir": 3}), "its `test_dir` is '3'"),
        (json.dumps({**WHOLE, "notes": "x" * 1_000_000}), "characters, and 1,000,000 are legal"),
    ],
)
def test_an_envoy_without_a_card_is_named_and_left_out(
    description: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    cards = shard_cards(Registry(clinic=description, env_one=json.dumps(card(1, **WHOLE))))
    assert list(cards) == ["env_one"]
    (said,) = caplog.messages
    assert said.startswith("clinic is left out, its dataset_description is no shard card: ")
    assert "\n" not in said


def test_what_a_card_does_not_say_is_filled_in() -> None:
    speakers = json.dumps({**WHOLE, "speakers": {"train": 4}})
    cards = shard_cards(Registry(clinic=json.dumps(WHOLE), phone=speakers))
    assert shared_labels(cards) == ("yes", "no")
    none = dict.fromkeys(("train", "val", "test"), 0)
    assert cards["clinic"] == {
        **WHOLE, "source": "unknown", "partition": "unknown", "rank": None, "world_size": None,
        "data_dir": "", "test_dir": "", "speakers": none, "seconds": none,
    }  # fmt: skip
    assert cards["phone"]["speakers"] == {**none, "train": 4}
    assert len(plot_shards(cards).axes) == 4


@pytest.mark.parametrize("tls", [False, True])
def test_a_stranger_names_no_folder_of_this_machine(tls: bool) -> None:
    folders = {"data_dir": "/proc", "test_dir": "/home/me/Music"}
    registry = Registry(env_one=json.dumps({**WHOLE, **folders}))
    registry.tls = tls
    (card,) = shard_cards(registry).values()
    assert {name: card[name] for name in folders} == (dict.fromkeys(folders, "") if tls else folders)
