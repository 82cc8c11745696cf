"""An envoy whose descriptor describes its data in words, beside one with a shard card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from superb_notebook.connect import connect, shard_cards
from tests.support.lab import Lab, wait_until

pytestmark = pytest.mark.federation

WHY = "its dataset_description is no shard card: "
# An envoy that does not read its own card, as one that was changed on purpose.
CHANGED = "import superb_node.envoy.config as config\nconfig.read_card = lambda text: None\n"


@pytest.mark.parametrize("changed", ["", CHANGED], ids=["as it is", "changed on purpose"])
def test_it_ends_with_one_line_and_the_others_go_on(tmp_path: Path, changed: str) -> None:
    lab = Lab(tmp_path, envoys=1)
    own = lab.nodes_dir / "clinic"
    shutil.copytree(tmp_path / "originals" / "envoy", own)
    descriptor = own / "sine_descriptor.py"
    source = descriptor.read_text(encoding="utf-8").replace("return json.dumps(", "return str(")
    descriptor.write_text(changed + source, encoding="utf-8")
    with lab:
        lab.envoy_names.append("clinic")
        clinic = lab.start_envoy(2)
        wait_until(lambda: clinic.exit_code() is not None, 60)
        assert clinic.exit_code() == 2
        (line,) = (line for line in lab.log("clinic").splitlines() if line.startswith("envoy: "))
        del lab.processes["clinic"]
        assert WHY in line
        assert (f"envoy 'clinic' is left out, {WHY}" in lab.log("director")) == bool(changed)
        assert list(shard_cards(connect(lab.settings()))) == [lab.first]
        outcome = lab.run(rounds=1)
        assert outcome.status == "finished", outcome.error
