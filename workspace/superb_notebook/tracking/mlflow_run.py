"""A run on an MLflow server, by MLflow's own client."""

from __future__ import annotations

import os
import time

from superb_notebook.tracking.backends import About
from superb_notebook.tracking.points import Note, Point

# Read when MLflow is imported: it would tell its makers that it is used, and wait minutes for a server.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

import mlflow
from mlflow.entities import Metric, Param, RunTag

# Of one request, and letters of one tag.
_MAX_METRICS, _MAX_PARAMS, _MAX_TAG = 1000, 100, 5000
_ENDINGS = {"finished": "FINISHED", "failed": "FAILED"}


class MlflowRun:
    """Writes to the server of MLFLOW_TRACKING_URI, a new run for each watching."""

    def __init__(self, about: About) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ValueError("set MLFLOW_TRACKING_URI to your server, such as http://127.0.0.1:5000")
        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "superb-ks")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=about.name).info.run_id
        params = [Param(key, str(value)) for key, value in about.settings.items()]
        for start in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _MAX_PARAMS])
        self._events = ""

    def write(self, points: list[Point], notes: list[Note]) -> None:
        """Write what has come in."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, step, value in points]
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MAX_METRICS])
        if notes:
            self._events += "".join(f"round {step}: {text}\n" for step, text in notes)
            self._client.log_batch(self._id, tags=[RunTag("events", self._events[-_MAX_TAG:])])

    def close(self, outcome: str) -> None:
        """Write how it ended."""
        self._client.set_tag(self._id, "outcome", outcome)
        self._client.set_terminated(self._id, _ENDINGS.get(outcome, "KILLED"))
