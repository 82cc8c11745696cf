"""The records of a real experiment, in the notebook's text and in TensorBoard's files."""

from pathlib import Path

import pytest

from superb_notebook.connect import connect
from superb_notebook.experiment import attach
from superb_notebook.history import EVENTS
from superb_notebook.monitor import follow
from superb_notebook.tracking.points import read
from tests.support.event_files import tensorboard_scalars, tensorboard_texts
from tests.support.lab import Lab
from tests.support.sine_experiment import Script

pytestmark = pytest.mark.federation


def test_what_is_replayed_is_what_was_written(lab: Lab, tmp_path: Path) -> None:
    script = Script(nan={2: (0,)})  # the second envoy's first update is refused
    experiment = lab.submit(script, rounds=2)
    follow(experiment.records(), 2, lab.envoy_names, plot=False, track="tensorboard", run_dir=tmp_path)
    written = tensorboard_scalars(tmp_path / "tensorboard" / experiment.experiment_name)

    replayed = list(attach(connect(lab.settings()), experiment.experiment_name).records())
    numbers = [read(record) for record in replayed if record["task_name"] not in EVENTS]
    assert numbers and {(each.name, each.step, each.value) for each in numbers} == {
        (name, step, value) for name, values in written.items() for step, value in values.items()
    }
    settings, event, outcome = tensorboard_texts(tmp_path)
    assert '"rounds": 2' in settings[2]
    assert event[1] == 0 and event[2].startswith(f"{lab.last} sent an update that was refused: ")
    assert outcome[2] == "finished"
