"""The aggregator of an experiment: hands out tasks, averages packed weights, keeps the best model."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from openfl.component.aggregator import Aggregator
from openfl.component.assigner.tasks import Task
from openfl.protocols import base_pb2

from superb_ks import messages, openfl_corrections
from superb_ks.averaging import FederatedAverage, UpdateRefused, Vector
from superb_ks.metrics import Metrics, as_records, pooled
from superb_ks.schedule import TRAIN, VALIDATE

logger = logging.getLogger(__name__)

# A collaborator that asks for tasks waits this long on the server for news before it asks again.
LONG_POLL_SECONDS = 1.0
# After the end, how long collaborators have for collecting their signal to quit.
QUIT_GRACE_SECONDS = 5.0

openfl_corrections.correct_aggregator_server()


class PackedAggregator(Aggregator):
    """Aggregator of models that travel as one packed vector.

    It replaces the whole round-keeping of OpenFL's aggregator, which looks at every tensor on its own in a data
    frame, sleeps ten seconds whenever there is nothing to do, ends without scoring its last aggregate and lets any
    metric decide which model is best.

    Args:
        initial_tensor_dict: ``{"trained": float32 [size]}``, the model to start from.
        best_metric: the pooled validation metric whose highest value marks the best model.
        settings: what OpenFL's plan gives to its own aggregator.
    """

    def __init__(
        self,
        *,
        initial_tensor_dict: Mapping[str, Vector],
        best_metric: str = "accuracy",
        **settings: Any,
    ) -> None:
        # The base class would copy the model three times into structures that are not used here.
        super().__init__(initial_tensor_dict={"unused": np.zeros(1, np.float32)}, **settings)
        self.best_metric = best_metric
        self.records: list[dict[str, Any]] = []
        self.failure: str | None = None
        self._model: Vector = initial_tensor_dict[messages.TRAINED]
        self._best: Vector = self._model
        self._best_score = -np.inf
        self._publish_models()
        self._changed = threading.Condition()
        self._served: dict[tuple[str, ...], base_pb2.NamedTensor] = {}
        self._ended_at: float | None = None
        self._start_round()

    # What collaborators call, through OpenFL's gRPC service ------------------------------------------------

    def get_tasks(self, collaborator_name: str) -> tuple[list[Task] | None, int, int, bool]:
        """Return ``(tasks, round, seconds to sleep, time to quit)``; waits a moment if there is nothing to do."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self._open_tasks(collaborator_name), timeout=LONG_POLL_SECONDS
            )
            if self._ended:
                self.quit_job_sent_to.append(collaborator_name)
                return None, self.round_number, 0, True
            return self._open_tasks(collaborator_name) or None, self.round_number, 0, False

    def get_aggregated_tensor(
        self,
        collaborator_name: str,
        tensor_name: str,
        round_number: int,
        report: bool,
        tags: tuple[str, ...],
        require_lossless: bool,
    ) -> base_pb2.NamedTensor:
        """Return the current or the best model, by ``tags``, as a message shared by all who ask in this round."""
        with self._changed:
            if tags not in self._served:
                vector = self._best if tags == messages.BEST else self._model
                self._served[tags] = messages.vector_message(vector, self.round_number, tags)
            return self._served[tags]

    def send_local_task_results(
        self,
        collaborator_name: str,
        round_number: int,
        task_name: str,
        data_size: int,
        named_tensors: Iterable[base_pb2.NamedTensor],
    ) -> None:
        """Take in what a collaborator's task returned, measured on ``data_size`` clips."""
        with self._changed:
            if self._is_unwanted(collaborator_name, round_number, task_name):
                return
            metrics: Metrics = {"clips": np.asarray(float(data_size))}
            for message in named_tensors:
                if messages.is_metric(message):
                    metrics[message.name] = messages.read_metric(message)
                else:
                    metrics["bytes_up"] = np.asarray(float(len(message.data_bytes)))
                    self._take_update(collaborator_name, data_size, message)
            self._note(collaborator_name, task_name, metrics)
            self._reports[task_name][collaborator_name] = metrics
            if all(not self._open_tasks(name) for name in self.authorized_cols):
                self._close_round()

    # What the director calls -------------------------------------------------------------------------------

    def all_quit_jobs_sent(self) -> bool:
        """Say whether the service can be stopped: all collaborators know, or had the time to."""
        if self._ended_at is None:
            return False
        everybody_knows = set(self.quit_job_sent_to) >= set(self.authorized_cols)
        return everybody_knows or time.monotonic() - self._ended_at > QUIT_GRACE_SECONDS

    def stop(self, failed_collaborator: str | None = None, reason: str = "stopped") -> None:
        """End the experiment early; whoever asks for tasks is told to quit. The first reason counts."""
        with self._changed:
            if self._ended:
                return
            origin = failed_collaborator or "director"
            self.failure = f"{origin}: {reason}"
            self.records.extend(as_records(self.round_number, origin, "failure", {reason: np.asarray(0.0)}))
            if failed_collaborator:
                self.quit_job_sent_to.append(failed_collaborator)
            self._end()

    # Inside a round ----------------------------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        return self._ended_at is not None

    def _start_round(self) -> None:
        self._served.clear()
        self._reports: dict[str, dict[str, Metrics]] = {
            name: {} for name in self.assigner.get_all_tasks_for_round(self.round_number)
        }
        self._average = FederatedAverage(self.authorized_cols, self._model.size)
        self._round_started = time.monotonic()

    def _open_tasks(self, collaborator_name: str) -> list[Task]:
        return [
            task
            for task in self.assigner.get_tasks_for_collaborator(collaborator_name, self.round_number)
            if collaborator_name not in self._reports[task.name]
        ]

    def _is_unwanted(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        late = self._ended or round_number != self.round_number
        if late or collaborator_name in self._reports.get(task_name, ()):
            logger.warning("Ignored %s of %s for round %d", task_name, collaborator_name, round_number)
            return True
        return False

    def _take_update(self, collaborator_name: str, clips: int, message: base_pb2.NamedTensor) -> None:
        try:
            self._average.add(collaborator_name, clips, messages.read_vector(message))
        except ValueError as refused:
            logger.warning("Refused an update: %s", refused)
            self._average.leave_out(collaborator_name)
            self._note(collaborator_name, "refused", {str(refused): np.asarray(0.0)})

    def _close_round(self) -> None:
        for task_name, reports in self._reports.items():
            self._note("aggregator", task_name, pooled(reports))
        if VALIDATE in self._reports:
            self._keep_if_best(pooled(self._reports[VALIDATE]))
        if TRAIN in self._reports:
            try:
                self._model = self._average.result()
            except UpdateRefused as nothing:
                return self.stop(reason=f"round {self.round_number}: {nothing}")
            self._publish_models()
        self._note("aggregator", "round", {"seconds": np.asarray(time.monotonic() - self._round_started)})
        self.round_number += 1
        if self._time_to_quit():
            self._end()
        else:
            self._start_round()
            self._changed.notify_all()

    def _keep_if_best(self, metrics: Metrics) -> None:
        if self.best_metric not in metrics:
            known = ", ".join(sorted(metrics))
            return self.stop(reason=f"validate returned no {self.best_metric!r}; it returned {known}")
        score = float(metrics[self.best_metric])
        if score > self._best_score:
            self._best, self._best_score = self._model, score
            self._publish_models()
            self._note("aggregator", "best", {self.best_metric: np.asarray(score)})

    def _publish_models(self) -> None:
        """Set what the director reads when the notebook fetches a model."""
        self.last_tensor_dict = {messages.TRAINED: self._model}
        self.best_tensor_dict = {messages.TRAINED: self._best}

    def _note(self, origin: str, task_name: str, metrics: Metrics) -> None:
        self.records.extend(as_records(self.round_number, origin, task_name, metrics))

    def _end(self) -> None:
        self._ended_at = time.monotonic()
        self._served.clear()
        self._changed.notify_all()
