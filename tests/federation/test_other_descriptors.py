"""An envoy whose descriptor describes its data in words, together with one with a shard card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from superb_notebook.connect import connect, shard_cards
from tests.support.lab import Lab

pytestmark = pytest.mark.federation


def test_it_is_named_and_left_out_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab(tmp_path, envoys=2)
    own = lab.nodes_dir / lab.last
    shutil.copytree(tmp_path / "originals" / "envoy", own)
    descriptor = own / "sine_descriptor.py"
    source = descriptor.read_text(encoding="utf-8").replace("return json.dumps(", "return str(")
    descriptor.write_text(source, encoding="utf-8")
    with lab:
        assert lab.registered() == set(lab.envoy_names)
        assert list(shard_cards(connect(lab.settings()))) == [lab.first]
        assert any(said.startswith(f"{lab.last} is left out, its dataset_descr") for said in caplog.messages)
        outcome = lab.run(rounds=1)
        assert outcome.status == "finished", outcome.error
        assert {record["metric_origin"] for record in outcome.records} == {lab.first, "aggregator"}
        assert "Experiment" not in lab.log(lab.last)
