"""How the rounds of an experiment follow one another: begun, closed, left by collaborators, ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from openfl.component.assigner.tasks import Task

from superb_ks.aggregator.assigner import ScheduledAssigner
from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.early_stopping import EarlyStop
from superb_ks.aggregator.membership import Membership
from superb_ks.aggregator.privacy import private_rounds
from superb_ks.aggregator.rounds import Round
from superb_ks.aggregator.strategies.registry import make_aggregation
from superb_ks.aggregator.strategies.updates import UpdateRefused
from superb_ks.aggregator.uploads import Results, UploadQueue
from superb_ks.metrics import ACCURACY, Metrics, as_records, pooled
from superb_ks.schedule import PERSONALISE, STOPPED_EARLY, TRAIN, VALIDATE
from superb_ks.settings import Settings
from superb_ks.types import Vector


class RoundKeeper:
    """Keeps the rounds of models that travel as one packed vector.

    It takes the place of OpenFL's own aggregator, which looks at every tensor on its own in a data frame,
    sleeps ten seconds whenever there is nothing to do, waits for ever for a collaborator that died, ends
    without scoring its last aggregate, and lets any metric decide which model is best.

    Args:
        names: of the collaborators that are enrolled.
        settings: the experiment's: rounds, strategy, privacy, when training ends early, and what happens
            when a collaborator fails.
        state_folder: holds the model to start from (see `superb_ks.aggregator.checkpoint`).
    """

    def __init__(self, names: Iterable[str], settings: Settings, state_folder: Path) -> None:
        self.authorized_cols = list(names)
        self.quit_job_sent_to: list[str] = []
        self._failures = settings.failures
        self.failure: str | None = None
        self.members = Membership(self.authorized_cols, settings.failures.min_envoys)
        self.state = ExperimentState(state_folder)
        self.records: list[dict[str, Any]] = self.state.records()
        self.round_number = self.state.manifest["round"]
        self._assigner = ScheduledAssigner(
            settings.rounds, settings.fraction, settings.seed, settings.personalise
        )
        self._early_stop = EarlyStop(settings.early_stopping, self.records)
        if self._early_stop.stopped_in is not None:
            self._train_no_more_after(self._early_stop.stopped_in)
        self._changed = threading.Condition(threading.RLock())
        self._aggregation = make_aggregation(settings.strategy, self.state)
        self._privacy = private_rounds(self.state, settings.privacy)
        self._uploads = UploadQueue(
            self._changed,
            self.state.last.size,
            self.members,
            (self._privacy or self._aggregation).collect,
            give_up=self.drop,
        )
        self._round = Round({})
        self._ended_at: float | None = None
        self._timer: threading.Timer | None = None
        with self._changed:
            self._start_round_or_end()

    def stop(self, failed_collaborator: str | None = None, reason: str = "stopped") -> None:
        """End the experiment early; who asks for tasks is told to quit. The first reason counts."""
        with self._changed:
            if not self._ended:
                origin = failed_collaborator or "director"
                self.failure = f"{origin}: {reason}"
                self._end()
                self._record(origin, "failure", {reason: np.asarray(0.0)})

    def drop(self, collaborator_name: str, reason: str, *, for_good: bool = False) -> None:
        """Go on without `collaborator_name`, as long as enough others are left."""
        with self._changed:
            if self._ended or not self.members.leave(collaborator_name, for_good=for_good):
                return
            self._record(collaborator_name, "dropped", {reason: np.asarray(0.0)})
            if self._round.awaits(collaborator_name, TRAIN):
                self._round.updates.skip(collaborator_name)
                self._changed.notify_all()  # the next in turn may upload
            if not (self.members.enough or self._is_personal):
                left = ", ".join(sorted(self.members.present)) or "nobody"
                return self.stop(reason=f"{left} left, min_envoys is {self.members.at_least}; {reason}")
            self._close_round_if_complete()

    # Inside a round ----------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether all rounds are complete."""
        return bool(self.round_number >= self._assigner.total_rounds)

    @property
    def progress(self) -> tuple[int, int]:
        """How many rounds are complete, the closing ones included, and in how many is trained."""
        return self.round_number, self._assigner.training_rounds

    @property
    def _is_personal(self) -> bool:
        return self._assigner.is_personal(self.round_number)

    @property
    def _ended(self) -> bool:
        return self._ended_at is not None

    def _start_round_or_end(self) -> None:
        if self.is_over:
            self._end()
        else:
            self._start_round()

    def _start_round(self) -> None:
        for name in self.members.start_round():
            self._record(name, "returned", {f"from round {self.round_number} on": np.asarray(0.0)})
        tasks = self._assigner.tasks_of(self.members.present, self.round_number)
        self._round = Round(tasks)
        self._round.updates = self._uploads.start_round(self._round.trainers)
        if self._failures.round_timeout_seconds is not None:
            self._start_timer(self._failures.round_timeout_seconds, final=False)
        self._changed.notify_all()

    def _start_timer(self, seconds: float, final: bool) -> None:
        self._timer = threading.Timer(seconds, self._cut_off, [self.round_number, seconds, final])
        self._timer.daemon = True
        self._timer.start()

    def _open_tasks(self, collaborator_name: str) -> list[Task]:
        present = collaborator_name in self.members.present
        return self._round.open_tasks(collaborator_name) if present else []

    def _take_update(self, collaborator_name: str, clips: int, results: Results) -> None:
        try:
            if results.weights is None:
                raise UpdateRefused(f"{collaborator_name}: {results.refusal or 'sent no weights'}")
            self._round.updates.add(collaborator_name, clips, results.weights)
        except UpdateRefused as refused:
            self._round.updates.skip(collaborator_name)
            self._record(collaborator_name, "refused", {str(refused): np.asarray(0.0)})
        except OSError as error:  # a full disk, where updates are kept in files
            self.stop(reason=f"the update of {collaborator_name} cannot be kept: {error}")
        self._changed.notify_all()  # the next in turn may upload

    def _cut_off(self, round_number: int, seconds: float, final: bool) -> None:
        """Close a round that took too long with those who reported.

        Uploads go in turns: who has trained in time but waits behind one that has not is no straggler. It has
        as long again for its upload.
        """
        with self._changed:
            if self._ended or round_number != self.round_number:
                return
            in_time = set() if final else self._uploads.under_way & self.members.present
            reason = f"did not {'upload' if final else 'report'} within {seconds:g} s"
            for name in sorted(self.members.present - in_time):
                if round_number == self.round_number and self._open_tasks(name):
                    self.drop(name, reason)
            if in_time and round_number == self.round_number and not self._ended:
                self._start_timer(seconds, final=True)

    def _close_round_if_complete(self) -> None:
        if self._ended or not self._round.is_complete(self.members.present):
            return
        try:
            self._close_round()
        except Exception as error:  # whatever it is, such as a full disk: not the fault of who reported last
            self.stop(reason=f"round {self.round_number} could not be closed: {error}")

    def _close_round(self) -> None:
        for task_name, reports in self._round.reports.items():
            if task_name != PERSONALISE:  # of each model its own
                self._record("aggregator", task_name, pooled(reports))
        if self._round.reports.get(VALIDATE):
            self._mark_if_best(self._round.reports[VALIDATE])
        model = self._new_model()
        self._stop_training_if_due()
        self._record("aggregator", "round", {"seconds": np.asarray(self._round.seconds)})
        if self._timer:
            self._timer.cancel()
        self.state.publish(self.round_number + 1, model)
        if model is not None:
            self._uploads.recycle(model)
        self.round_number += 1
        self._start_round_or_end()

    def _new_model(self) -> Vector | None:
        """Return what the next round starts from; None if that is what this one started from.

        Raises:
            UpdateRefused: all who are present were to train, and none of them sent a usable update.
        """
        drawn = self._round.trainers
        if not drawn:
            return None
        try:
            combined = self._round.updates.result()
        except UpdateRefused:
            if self.members.present <= set(drawn):
                raise
            # Others are left. Whoever was drawn alone would otherwise end the experiment with one bad update,
            # and again whenever it is resumed, because the same ones are drawn again.
            reason = f"no usable update came from {', '.join(drawn)}"
            self._record("aggregator", "unchanged", {reason: np.asarray(0.0)})
            return None
        if self._privacy:
            self._record("aggregator", "privacy", self._privacy.spend(self._round.trainers))
            self.state.last.add_to(combined)  # a private average is one of changes since the round's start
        return self._aggregation.next_model(combined, self.round_number + 1)

    def _stop_training_if_due(self) -> None:
        """Skip the training rounds that are left, if this one showed a reason to."""
        if told := self._early_stop.told(self.round_number + 1, self._assigner.training_rounds):
            self._record("aggregator", STOPPED_EARLY, {told: np.asarray(0.0)})
            self._train_no_more_after(self.round_number)

    def _train_no_more_after(self, round_number: int) -> None:
        self._assigner = replace(self._assigner, training_rounds=round_number + 1)

    def _mark_if_best(self, reports: Mapping[str, Metrics]) -> None:
        # One collaborator that does not report a number is no reason to end the experiment of all.
        metrics = pooled({name: report for name, report in reports.items() if ACCURACY in report})
        if ACCURACY not in metrics:
            if self._round.ignored:  # it is said whose was left out
                return
            known = ", ".join(sorted(pooled(reports)))
            raise UpdateRefused(f"validate returned no {ACCURACY!r}, only {known}")
        score = float(metrics[ACCURACY])
        best, best_round = self.state.manifest["best_score"], self.state.manifest["best_round"]
        # An experiment that was interrupted after it had marked this round's model marks it again.
        again = best_round == self.round_number
        if best is None or score > best or again:
            self.state.mark_best(score)
            self._record("aggregator", "best", {ACCURACY: np.asarray(score)})

    def _record(self, origin: str, task_name: str, metrics: Metrics) -> None:
        records = as_records(self.round_number, origin, task_name, metrics)
        self.records.extend(records)
        self._early_stop.read(records)
        try:
            self.state.append(records)
        except (OSError, ValueError) as error:  # a full disk, or a log that is closed
            self.stop(reason=f"records cannot be written: {error}")

    def _end(self) -> None:
        self._ended_at = time.monotonic()
        self._uploads.close()
        if self._timer:
            self._timer.cancel()
        self._changed.notify_all()
