"""What a node and the shipped package both have, as neither may import the other, is the same in both."""

from __future__ import annotations

from speech_commands.check import inspection
from superb_ks import addresses, settings
from superb_ks.aggregator import authorization, checkpoint
from superb_ks.model import spec
from superb_node import certificates, labels, loopback, names
from superb_node.director import experiment_store


def test_names_hosts_and_roles() -> None:
    assert settings._EXPERIMENT_NAME == names.NAME_PATTERN
    assert addresses._HOST_NAME == loopback._HOST_NAME
    assert f"{certificates.SPIFFE_DOMAIN}envoy/" == authorization._ENVOYS


def test_files_of_an_experiment() -> None:
    assert (experiment_store.MANIFEST, experiment_store.RECORDS) == (checkpoint.MANIFEST, checkpoint.RECORDS)


def test_classes_and_the_shortest_clip() -> None:
    assert labels.LABELS == settings.SUPERB_LABELS
    assert inspection.SHORTEST == spec.SHORTEST
