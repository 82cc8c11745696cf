"""The notebook's side of a sine experiment as a process of its own, on whatever host it is started.

python -m tests.support.remote_notebook JOB

JOB is a pickled pair of `Settings` and `Script`. Prints every record as one line of JSON, and at last a line
with `status`, `error` and `ballast` of the last model.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from superb_notebook.connect import connect
from superb_notebook.experiment import FederatedExperiment
from tests.support.lab import follow
from tests.support.sine_experiment import sine_model, sine_shard, sine_tasks


def main() -> None:
    """Submit the job's experiment and follow it to its end."""
    settings, script = pickle.loads(Path(sys.argv[1]).read_bytes())
    experiment = FederatedExperiment(connect(settings), settings.experiment_name)
    experiment.start(
        model=sine_model(script),
        tasks=sine_tasks(script),
        shard=sine_shard(script),
        settings=settings,
    )
    outcome = follow(experiment, on_record=lambda record: print(json.dumps(record), flush=True))
    end = {"status": outcome.status, "error": outcome.error}
    print(json.dumps({**end, "ballast": outcome.ballast if outcome.weights is not None else None}))


if __name__ == "__main__":
    main()
