"""What a node and the shipped package both have, where neither imports the other, is the same in both."""

from __future__ import annotations

from pathlib import Path

from speech_commands.check import inspection
from superb_ks import settings
from superb_ks.aggregator import authorization
from superb_ks.model import spec
from superb_ks.training import data
from superb_node import certificates, labels, shard_card, work_folder
from superb_node.envoy.personal import PERSONAL_FOLDER

ROOT = Path(__file__).resolve().parents[1]


def test_roles() -> None:
    assert f"{certificates.SPIFFE_DOMAIN}envoy/" == authorization._ENVOYS


def test_classes_splits_and_the_shortest_clip() -> None:
    assert labels.LABELS == settings.SUPERB_LABELS
    assert shard_card.SPLITS == data.SPLITS
    assert inspection.SHORTEST == spec.SHORTEST


def test_what_an_envoy_keeps_for_itself_is_neither_committed_nor_packed() -> None:
    ours = [name for name in work_folder.OF_ONE_NODE if name != "experiments"]  # which is a director's
    assert str(PERSONAL_FOLDER) in ours
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    left_out = (ROOT / "deploy" / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"/envoy/{name}/" for name in ours} <= set(ignored)
    assert {f"envoy/{name}" for name in ours} <= set(left_out)
    assert f"rm -rf {' '.join(ours)} && find" in (ROOT / "Makefile").read_text(encoding="utf-8")
