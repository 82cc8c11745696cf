"""The aggregator of an experiment: hands out tasks and models, averages updates, closes rounds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from openfl.component.aggregator import Aggregator
from openfl.component.assigner.tasks import Task
from openfl.protocols import base_pb2

from superb_ks import wire
from superb_ks.averaging import UpdateRefused, Vector
from superb_ks.membership import Membership
from superb_ks.metrics import Metrics, as_records, pooled
from superb_ks.openfl_corrections import correct_aggregator_service
from superb_ks.receiving import Receiver, Results
from superb_ks.schedule import TRAIN, VALIDATE
from superb_ks.state import ExperimentState

logger = logging.getLogger(__name__)

# A collaborator that asks for tasks waits this long on the server for news before it asks again.
LONG_POLL_SECONDS = 1.0
# After the end, how long collaborators have for collecting their signal to quit.
QUIT_GRACE_SECONDS = 5.0


class PackedAggregator(Aggregator):
    """Aggregator of models that travel as one packed vector.

    It takes the place of OpenFL's own round-keeping, which looks at every tensor on its own in a data frame,
    sleeps ten seconds whenever there is nothing to do, waits for ever for a collaborator that died, ends
    without scoring its last aggregate, and lets any metric decide which model is best.

    Args:
        initial_tensor_dict: ``{"state_folder": path}``; the folder holds the model to start from
            (see :mod:`superb_ks.state`).
        best_metric: the pooled validation metric whose highest value marks the best model.
        min_collaborators: with fewer than so many left, the experiment fails.
        cutoff_seconds: a round closes after so long with whoever reported; None waits.
        on_task_error: ``"fail"`` ends the experiment when a task raises on one collaborator,
            ``"continue"`` goes on without that collaborator.
        update_dtype: what collaborators send: ``"float32"`` weights, or their change as ``"bfloat16"``.
        settings: what OpenFL's plan gives to its own aggregator.
    """

    def __init__(
        self,
        *,
        initial_tensor_dict: Mapping[str, Any],
        best_metric: str = "accuracy",
        min_collaborators: int = 1,
        cutoff_seconds: float | None = None,
        on_task_error: str = "fail",
        update_dtype: str = wire.FLOAT32,
        **settings: Any,
    ) -> None:
        # The base class wants some model, for structures that are not used here.
        super().__init__(initial_tensor_dict={"unused": np.zeros(1, np.float32)}, **settings)
        self.best_metric = best_metric
        self.cutoff_seconds = cutoff_seconds
        self.on_task_error = on_task_error
        self.update_dtype = update_dtype
        self.failure: str | None = None
        self.members = Membership(self.authorized_cols, min_collaborators)
        self.state = ExperimentState(Path(initial_tensor_dict["state_folder"]))
        self.records: list[dict[str, Any]] = self.state.records()
        self.round_number = self.state.manifest["round"]
        self._changed = threading.Condition(threading.RLock())
        self._receiver = Receiver(self._changed, self.state.last.size, self.members, update_dtype)
        self._ended_at: float | None = None
        self._timer: threading.Timer | None = None
        correct_aggregator_service(self._receiver.receive)
        with self._changed:
            self._start_round_or_end()

    # What collaborators call, through OpenFL's gRPC service ------------------------------------------------

    def get_tasks(self, collaborator_name: str) -> tuple[list[Task] | None, int, int, bool]:
        """Return ``(tasks, round, seconds to sleep, time to quit)``; waits a moment for news."""
        with self._changed:
            self.members.heard_from(collaborator_name)
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
        """Return a tensor without its bytes; the service adds what :meth:`part` reads."""
        return base_pb2.NamedTensor(name=tensor_name, round_number=round_number, lossless=True, tags=tags)

    def part(self, tensor_name: str, round_number: int, tags: tuple[str, ...]) -> bytes:
        """Read one part of the last or the best model, by ``tags``, from disk; empty if the round is over.

        Raises:
            ValueError: there is no such part.
        """
        with self._changed:
            if round_number != self.round_number:
                return b""
            model = self.state.best if tags == wire.BEST else self.state.last
            return model.part(wire.part_number(tensor_name))

    def send_local_task_results(
        self,
        collaborator_name: str,
        round_number: int,
        task_name: str,
        data_size: int,
        named_tensors: Results,
    ) -> None:
        """Take in what a collaborator's task returned, measured on ``data_size`` clips."""
        with self._changed:
            self._receiver.done_with(collaborator_name)
            if self._is_unwanted(collaborator_name, round_number, task_name):
                return
            metrics: Metrics = {"clips": np.asarray(float(data_size)), **named_tensors.metrics}
            if task_name == TRAIN:
                metrics["bytes_up"] = np.asarray(float(named_tensors.nbytes))
                self._take_update(collaborator_name, data_size, named_tensors)
            self._note(collaborator_name, task_name, metrics)
            self._reports[task_name][collaborator_name] = metrics
            self._close_round_if_complete()

    # What the director calls -------------------------------------------------------------------------------

    def all_quit_jobs_sent(self) -> bool:
        """Say whether the service can be stopped: all collaborators know, or had the time to."""
        if self._ended_at is None:
            return False
        everybody_knows = set(self.quit_job_sent_to) >= self.members.present
        return everybody_knows or time.monotonic() - self._ended_at > QUIT_GRACE_SECONDS

    def stop(self, failed_collaborator: str | None = None, reason: str = "stopped") -> None:
        """End the experiment early; whoever asks for tasks is told to quit. The first reason counts."""
        with self._changed:
            if not self._ended:
                origin = failed_collaborator or "director"
                self.failure = f"{origin}: {reason}"
                self._end()
                self._note(origin, "failure", {reason: np.asarray(0.0)})

    def task_failed(self, collaborator_name: str, reason: str) -> None:
        """A task raised on ``collaborator_name``: fail, or go on without it, as the experiment is set."""
        with self._changed:
            self.quit_job_sent_to.append(collaborator_name)  # it is not invited again
            if self.on_task_error == "fail":
                self.stop(collaborator_name, reason)
            else:
                self.drop(collaborator_name, reason, for_good=True)

    def drop(self, collaborator_name: str, reason: str, *, for_good: bool = False) -> None:
        """Go on without ``collaborator_name``, as long as enough others are left."""
        with self._changed:
            if self._ended or not self.members.leave(collaborator_name, for_good=for_good):
                return
            self._note(collaborator_name, "dropped", {reason: np.asarray(0.0)})
            if collaborator_name not in self._reports.get(TRAIN, ()):
                self._average.leave_out(collaborator_name)
                self._changed.notify_all()  # the next in turn may upload
            if not self.members.enough:
                left = ", ".join(sorted(self.members.present)) or "nobody"
                return self.stop(reason=f"{left} left, min_envoys is {self.members.at_least}; {reason}")
            self._close_round_if_complete()

    # Inside a round ----------------------------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        return self._ended_at is not None

    def _start_round_or_end(self) -> None:
        if self._time_to_quit():
            self._end()
        else:
            self._start_round()

    def _start_round(self) -> None:
        for name in self.members.start_round():
            self._note(name, "returned", {f"from round {self.round_number} on": np.asarray(0.0)})
        self._reports: dict[str, dict[str, Metrics]] = {
            name: {} for name in self.assigner.get_all_tasks_for_round(self.round_number)
        }
        self._average = self._receiver.start_round(self.members.present)
        self._round_started = time.monotonic()
        if self.cutoff_seconds is not None:
            self._timer = threading.Timer(self.cutoff_seconds, self._cut_off, [self.round_number])
            self._timer.daemon = True
            self._timer.start()
        self._changed.notify_all()

    def _open_tasks(self, collaborator_name: str) -> list[Task]:
        if collaborator_name not in self.members.present:
            return []
        tasks = self.assigner.get_tasks_for_collaborator(collaborator_name, self.round_number)
        return [task for task in tasks if collaborator_name not in self._reports[task.name]]

    def _is_unwanted(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        wanted = (
            not self._ended
            and round_number == self.round_number
            and collaborator_name in self.members.present
            and collaborator_name not in self._reports.get(task_name, {collaborator_name: None})
        )
        if not wanted:
            self._note(collaborator_name, "late", {f"{task_name} of round {round_number}": np.asarray(0.0)})
        return not wanted

    def _take_update(self, collaborator_name: str, clips: int, results: Results) -> None:
        try:
            if results.weights is None:
                raise UpdateRefused(f"{collaborator_name}: {results.refusal or 'sent no weights'}")
            self._average.add(collaborator_name, clips, results.weights)
        except UpdateRefused as refused:
            self._average.leave_out(collaborator_name)
            self._note(collaborator_name, "refused", {str(refused): np.asarray(0.0)})
        self._changed.notify_all()  # the next in turn may upload

    def _cut_off(self, round_number: int) -> None:
        """Close a round that took too long with whoever reported."""
        with self._changed:
            if self._ended or round_number != self.round_number:
                return
            for name in sorted(self.members.present):
                if round_number == self.round_number and self._open_tasks(name):
                    self.drop(name, f"did not report within {self.cutoff_seconds:g} s")

    def _close_round_if_complete(self) -> None:
        if self._ended or any(self._open_tasks(name) for name in self.members.present):
            return
        try:
            self._close_round()
        except (OSError, ValueError) as error:  # a full disk, no update, metrics that do not fit together
            self.stop(reason=f"round {self.round_number} could not be closed: {error}")

    def _close_round(self) -> None:
        for task_name, reports in self._reports.items():
            self._note("aggregator", task_name, pooled(reports))
        if self._reports.get(VALIDATE):
            self._mark_if_best(pooled(self._reports[VALIDATE]))
        model = self._new_model() if TRAIN in self._reports else None
        seconds = time.monotonic() - self._round_started
        self._note("aggregator", "round", {"seconds": np.asarray(seconds)})
        if self._timer:
            self._timer.cancel()
        self.state.publish(self.round_number + 1, model)
        if model is not None:
            self._receiver.recycle(model)
        self.round_number += 1
        self._start_round_or_end()

    def _new_model(self) -> Vector:
        average = self._average.result()
        if self.update_dtype == wire.BFLOAT16:  # the average change is added to what it is a change of
            self.state.last.add_to(average)
        return average

    def _mark_if_best(self, metrics: Metrics) -> None:
        if self.best_metric not in metrics:
            known = ", ".join(sorted(metrics))
            raise UpdateRefused(f"validate returned no {self.best_metric!r}, only {known}")
        score = float(metrics[self.best_metric])
        best = self.state.manifest["best_score"]
        if np.isfinite(score) and (best is None or score > best):
            self.state.mark_best(score)
            self._note("aggregator", "best", {self.best_metric: np.asarray(score)})

    def _note(self, origin: str, task_name: str, metrics: Metrics) -> None:
        records = as_records(self.round_number, origin, task_name, metrics)
        self.records.extend(records)
        try:
            self.state.append(records)
        except (OSError, ValueError) as error:  # a full disk, or a log that is closed
            self.stop(reason=f"records cannot be written: {error}")

    def _end(self) -> None:
        self._ended_at = time.monotonic()
        self._receiver.start_round([])  # lets go of uploads that wait
        if self._timer:
            self._timer.cancel()
        self._changed.notify_all()
