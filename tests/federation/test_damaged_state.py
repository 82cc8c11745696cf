"""An experiment whose state was poisoned on the disk says so when it is resumed; mended, it goes on."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.lab import Lab, Outcome, at, follow
from tests.support.sine_experiment import Script

pytestmark = pytest.mark.federation


def test_a_poisoned_state_is_named_in_one_line_and_mended_goes_on(lab: Lab) -> None:
    name, slowly = lab.new_name(), Script(seconds=dict.fromkeys(lab.ranks, 0.3))
    experiment = lab.submit(slowly, name=name, rounds=3)
    assert follow(experiment, (at(1, lab.first, "train"), experiment.stop)).status == "stopped"
    folder = lab.nodes_dir / "director" / "experiments" / name
    manifest, model = folder / "manifest.json", folder / "round-1.safetensors"

    def resumed() -> Outcome:
        return follow(lab.submit(slowly, name=name, rounds=3, resume=True))

    def fails_with(file: Path, poisoned: bytes, line: str) -> None:
        sound = file.read_bytes()
        assert poisoned != sound
        file.write_bytes(poisoned)
        outcome = resumed()
        assert outcome.status == "failed"
        assert outcome.error.endswith(line), outcome.error
        file.write_bytes(sound)

    nan = np.float32("nan").tobytes()
    fails_with(
        model, model.read_bytes()[:-4] + nan, f"values of {model.name} are not finite (NaN or infinity)"
    )
    poisoned = re.sub(rb'"best_score": [^,\n]+', b'"best_score": NaN', manifest.read_bytes())
    fails_with(manifest, poisoned, "manifest.json cannot be read: NaN is no number")

    outcome = resumed()
    assert outcome.status == "finished", outcome.error
