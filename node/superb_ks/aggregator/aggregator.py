"""The aggregator of an experiment: hands out tasks and models, takes in what collaborators report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from openfl.component.assigner.tasks import Task
from openfl.protocols import aggregator_pb2

from superb_ks.aggregator.round_keeper import RoundKeeper
from superb_ks.aggregator.service import correct_aggregator_service
from superb_ks.aggregator.uploads import Results
from superb_ks.metrics import CLIPS, MAX_LETTERS, MAX_RECORDS, Metrics, admit, cap, count_records
from superb_ks.schedule import TRAIN
from superb_ks.settings import Settings
from superb_ks.transport import messages
from superb_ks.transport.parts import count_parts, part_number

# A collaborator that asks for tasks waits this long on the server for news before it asks again.
LONG_POLL_SECONDS = 1.0
# After the end, how long collaborators have for collecting their signal to quit.
QUIT_GRACE_SECONDS = 5.0
# Unwanted results that are recorded of a collaborator in a round; more would fill the log.
MAX_LATE_RECORDS = 8
# Letters of a notice that an experiment waits: a name of up to 63, a digest of 64.
MAX_NOTICE_LENGTH = 200


class Aggregator(RoundKeeper):
    """What OpenFL's gRPC service and its director call, on top of the rounds.

    Args:
        names: of the collaborators that are enrolled.
        settings: the experiment's.
        state_folder: holds the model to start from.
        experiment_id: what a call has to show.
        clip_limits: by collaborator, how many clips of each split its shard card counts. An update weighs no
            more, and a personal model is scored on no more, whatever number of clips is claimed.
    """

    single_col_cert_common_name = ""  # every collaborator has a certificate of its own

    def __init__(
        self,
        names: Iterable[str],
        settings: Settings,
        state_folder: Path,
        *,
        experiment_id: str,
        clip_limits: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    ) -> None:
        self.uuid = self.federation_uuid = experiment_id
        self._clip_limits = clip_limits
        self._late: Counter[tuple[str, int]] = Counter()
        self._waiting: set[str] = set()
        super().__init__(names, settings, state_folder)
        correct_aggregator_service()

    # What collaborators call, through OpenFL's gRPC service ------------------------------------------------

    def get_tasks(self, collaborator_name: str) -> tuple[list[Task] | None, int, int, bool]:
        """Return `(tasks, round, seconds to sleep, time to quit)`; waits a moment for news."""
        with self._changed:
            self.members.heard_from(collaborator_name)
            self._changed.wait_for(
                lambda: self._ended or self._open_tasks(collaborator_name), timeout=LONG_POLL_SECONDS
            )
            if self._ended:
                if collaborator_name not in self.quit_job_sent_to:
                    self.quit_job_sent_to.append(collaborator_name)
                return None, self.round_number, 0, True
            return self._open_tasks(collaborator_name) or None, self.round_number, 0, False

    def parts(self, tensor_name: str, round_number: int, tags: tuple[str, ...]) -> Iterator[bytes]:
        """Read the last or the best model, by `tags`, part by part from disk, from the named part on.

        Yields:
            `PART_BYTES` bytes, fewer at the end; nothing instead, and no more, if the round is over.

        Raises:
            ValueError: there is no such part.
        """
        number = part_number(tensor_name)
        while data := self._part(number, round_number, tags):
            yield data
            number += 1
            if number == count_parts(self.state.last.size):
                return
        yield b""

    def _part(self, number: int, round_number: int, tags: tuple[str, ...]) -> bytes:
        with self._changed:
            if round_number != self.round_number:
                return b""
            model = self.state.best if tags == messages.BEST else self.state.last
            return model.part(number)

    def receive(self, head: aggregator_pb2.TaskResults, parts: Iterable[bytes]) -> Results:
        """Read an upload (see `UploadQueue.receive`)."""
        return self._uploads.receive(head, parts)

    def send_local_task_results(
        self,
        collaborator_name: str,
        round_number: int,
        task_name: str,
        data_size: int,
        results: Results,
    ) -> None:
        """Take in what a collaborator's task returned, measured on `data_size` clips."""
        with self._changed:
            if results.weights is not None:
                self._uploads.done_with(collaborator_name)
            if self._is_unwanted(collaborator_name, round_number, task_name):
                return
            metrics = self._admitted(collaborator_name, task_name, results.metrics)
            metrics[CLIPS] = np.asarray(float(max(0, data_size)))
            for claim in cap(task_name, metrics, self._clip_limits.get(collaborator_name, {})):
                self._record(collaborator_name, "capped", {claim: np.asarray(0.0)})
            if task_name == TRAIN:
                weights = results.weights
                metrics["bytes_up"] = np.asarray(0.0 if weights is None else float(weights.nbytes))
                self._take_update(collaborator_name, min(data_size, int(metrics[CLIPS])), results)
            self._record(collaborator_name, task_name, metrics)
            self._round.reports[task_name][collaborator_name] = metrics
            self._close_round_if_complete()

    def _admitted(self, collaborator_name: str, task_name: str, sent: Metrics) -> Metrics:
        """Return the metrics that keep to the schema and to the budget; say once that others did not."""
        metrics, left_out = admit(task_name, sent, MAX_RECORDS - self._round.records[collaborator_name])
        self._round.records[collaborator_name] += count_records(metrics)
        if left_out:
            self._round.ignored = True
            self._record(collaborator_name, "ignored", {f"{task_name}: {left_out}": np.asarray(0.0)})
        return metrics

    def _is_unwanted(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        wanted = (
            not self._ended
            and round_number == self.round_number
            and collaborator_name in self.members.present
            and self._round.awaits(collaborator_name, task_name)
        )
        if not wanted and self._late[collaborator_name, self.round_number] < MAX_LATE_RECORDS:
            self._late[collaborator_name, self.round_number] += 1
            what = f"{task_name[:MAX_LETTERS]} of round {round_number}"
            self._record(collaborator_name, "late", {what: np.asarray(0.0)})
        return not wanted

    def valid_collaborator_cn_and_id(self, owner: str, name: str) -> bool:
        """Return whether the owner of a certificate may call itself `name`."""
        return owner == name and name in self.authorized_cols

    # What the director calls -------------------------------------------------------------------------------

    def all_quit_jobs_sent(self) -> bool:
        """Say whether the service can be stopped: all collaborators know, or had the time to."""
        if self._ended_at is None:
            return False
        everybody_knows = set(self.quit_job_sent_to) >= self.members.present
        return everybody_knows or time.monotonic() - self._ended_at > QUIT_GRACE_SECONDS

    def task_failed(self, collaborator_name: str, reason: str) -> None:
        """A task raised on `collaborator_name`: fail, or go on without it, as the experiment is set.

        The personalising round goes on in any case: what the federation was to make is made.
        """
        with self._changed:
            if collaborator_name not in self.quit_job_sent_to:
                self.quit_job_sent_to.append(collaborator_name)  # it is not invited again
            if self._failures.on_task_error == "fail" and not self._is_personal:
                self.stop(collaborator_name, reason)
            else:
                self.drop(collaborator_name, reason, for_good=True)

    def record_waiting(self, collaborator_name: str, text: str) -> None:
        """Record, once, that `collaborator_name` waits until its owner approves the experiment."""
        with self._changed:
            if not self._ended and collaborator_name not in self._waiting:
                self._waiting.add(collaborator_name)
                self._record(collaborator_name, "waiting", {text[:MAX_NOTICE_LENGTH]: np.asarray(0.0)})
