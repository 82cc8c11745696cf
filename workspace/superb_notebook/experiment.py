"""One experiment on a federation: submit it, follow it, stop or resume it, fetch its model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import grpc
from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation
from torch import nn

from superb_ks.experiment import FUNCTIONS, Experiment, UnsoundExperiment, digest
from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings
from superb_ks.types import Vector
from superb_node.errors import ToldError
from superb_node.names import illegal_name, is_legal_name
from superb_node.reports import QUEUED
from superb_notebook.connect import FederationError, require_disjoint_shards, shard_cards
from superb_notebook.task_source import task_arguments, task_functions, write_tasks

logger = logging.getLogger(__name__)


class ExperimentFailed(ToldError):
    """The experiment ended without finishing; the message holds who failed and why."""


class NoRoom(FederationError):
    """The director has no room for the experiment now: as many wait as may, or its disk is full."""


class Records(Iterator[dict[str, Any]]):
    """The records of an experiment as they come in; they know which experiment it is."""

    def __init__(self, experiment: FederatedExperiment, stream: Iterator[dict[str, Any]]) -> None:
        self.experiment, self._stream = experiment, stream

    def __next__(self) -> dict[str, Any]:
        return next(self._stream)


class FederatedExperiment:
    """One experiment on a federation.

    Args:
        federation: from `connect`.
        experiment_name: unique on the director; letters, digits, `-` and `_`; None makes one up.

    Attributes:
        text: what was submitted, besides the weights (see `superb_ks.experiment`); empty before.
        settings: those that were submitted; None before.
        envoys: names of those who take part, in alphabetical order; empty before.
    """

    def __init__(self, federation: Federation, experiment_name: str | None = None) -> None:
        if experiment_name is None:
            experiment_name = f"ks-{datetime.now():%Y%m%d-%H%M%S}"
        if not is_legal_name(experiment_name):
            raise ValueError(illegal_name("experiment name", experiment_name))
        self.federation, self.experiment_name = federation, experiment_name
        self.text = b""
        self.settings: Settings | None = None
        self.envoys: list[str] = []

    @property
    def digest(self) -> str:
        """By which the owners of director and envoys know what was submitted (see docs/approval.md)."""
        return digest(self.text)

    def start(
        self,
        *,
        model: ModelSpec | Callable[[], nn.Module],
        tasks: TaskInterface,
        settings: Settings,
        shard: Callable[[Any], Any] | None = None,
        initial_weights: Vector | None = None,
        resume: bool = False,
    ) -> None:
        """Submit the experiment: settings, specification and the tasks' source as one text, and the weights.

        Args:
            model: the specification, or a function that builds the model on each node.
            tasks: OpenFL's, with the tasks `train`, `validate` and `test`.
            settings: rounds, strategy, and what happens when an envoy fails.
            shard: takes an envoy's shard descriptor and returns what the tasks get as their data; None: a
                `ClipDataset` for each split.
            initial_weights: packed, float32 `[size]`; None: those of the model as it is built here.
            resume: go on from the last aggregate of an interrupted experiment of this name.

        Raises:
            ValueError: one of the three tasks is missing, or uses what cannot be written as text.
            NoRoom: the director refuses, but would not if others had ended.
            FederationError: an envoy that is chosen is not online, too few are, or the director refuses.
        """
        try:
            self.text = experiment_text(model, tasks, settings, shard)
        except UnsoundExperiment as error:
            raise FederationError(str(error)) from error
        self.settings = settings
        self.envoys = self._require_envoys(settings)
        weights = initial_weights
        if weights is None and not resume:
            weights = pack(model.build() if isinstance(model, ModelSpec) else model())
        client = self.federation.dir_client
        try:
            client.submit(
                self.experiment_name, self.envoys, self.text, weights, settings.addresses.aggregator_port
            )
        except grpc.RpcError as error:
            kind = NoRoom if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else FederationError
            raise kind(f"the director refused the experiment: {error.details()}") from error

    def records(self) -> Records:
        """Return every record (see docs/design.md) from the first on, as it comes, until the experiment ends.

        A link that breaks and is mended interrupts nothing: what came before is not yielded again.

        Raises:
            ExperimentFailed: it ended without finishing; raised after the last record.
        """
        return Records(self, self._stream())

    def _stream(self) -> Iterator[dict[str, Any]]:
        failure, seen = "", 0
        notice: dict[str, Any] | None = None
        while True:
            try:
                stream = self.federation.dir_client.stream_metrics(self.experiment_name)
                skip = seen
                for record in stream:
                    if _is_notice(record):
                        if record != notice:
                            yield (notice := record)
                    elif skip:
                        skip -= 1
                    else:
                        seen += 1
                        if record["task_name"] == "failure":
                            failure = f"{record['metric_origin']}: {record['metric_name']}"
                        yield record
                status = self.status()
                break
            except grpc.RpcError as error:
                self._require_answer(error)
        if status in ("failed", "interrupted", "rejected"):
            raise ExperimentFailed(f"experiment {self.experiment_name} {status}. {failure}".strip())

    def _require_answer(self, error: grpc.RpcError) -> None:
        """Return once the director answers again, after `error` in the middle of the records."""
        try:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise error
            self.status()  # waits a moment for the director
        except grpc.RpcError:
            raise ExperimentFailed(
                f"experiment {self.experiment_name}: the director does not answer ({error.details()}). "
                "Once it is back: attach(federation, name) follows an experiment that goes on, "
                "start(..., resume=True) one that was interrupted, from the last complete round"
            ) from error

    def status(self) -> str:
        """Return `pending`, `in_progress`, `finished`, `failed`, `stopped`, `interrupted` or
        `rejected` (by the director's owner).
        """
        reply = self.federation.dir_client.get_experiment_status(self.experiment_name)
        return str(reply.experiment_status)

    def best_weights(self) -> Vector:
        """Fetch the packed weights, float32 `[size]`, of the model with the best validation score.

        Raises:
            FederationError: the director has none.
        """
        return self._weights("best")

    def last_weights(self) -> Vector:
        """Fetch the packed weights, float32 `[size]`, of the last complete round.

        Raises:
            FederationError: the director has none.
        """
        return self._weights("last")

    def stop(self) -> None:
        """End the experiment within the round; what was aggregated so far is kept.

        Raises:
            FederationError: the director refuses; it is somebody else's.
        """
        try:
            self.federation.dir_client.stop_experiment(self.experiment_name)
        except grpc.RpcError as error:
            raise FederationError(f"not stopped: {error.details()}") from error

    def _weights(self, which: str) -> Vector:
        try:
            return self.federation.dir_client.fetch_model(self.experiment_name, which)
        except grpc.RpcError as error:
            raise FederationError(f"no {which} model: {error.details()}") from error

    def _require_envoys(self, settings: Settings) -> list[str]:
        """Return who takes part: those who are chosen, or all that are online and describe their shard."""
        cards = shard_cards(self.federation, settings.envoys)
        online, least = sorted(cards), settings.failures.min_envoys
        require_disjoint_shards(cards)
        if len(online) < least:
            raise FederationError(
                f"{len(online)} envoys are online ({', '.join(online) or 'none'}), min_envoys is {least}"
            )
        return online


def _is_notice(record: Mapping[str, Any]) -> bool:
    """Return whether a record tells how the experiment waits to begin, and is not kept with the others."""
    of_director = record["task_name"] == "waiting" and record["metric_origin"] == "director"
    return of_director or record["task_name"] == QUEUED


def experiment_text(
    model: ModelSpec | Callable[[], nn.Module],
    tasks: TaskInterface,
    settings: Settings,
    shard: Callable[[Any], Any] | None = None,
) -> bytes:
    """Return what is submitted of an experiment, besides the weights; the arguments are those of `start`.

    Raises:
        ValueError: one of the three tasks is missing, or uses what cannot be written as text.
        UnsoundExperiment: the text is none that a node would take.
    """
    registered = task_functions(tasks)
    missing = [name for name in FUNCTIONS if name not in registered]
    if missing:
        has = ", ".join(sorted(registered)) or "no task"
        raise ValueError(
            f"the task keeper lacks {', '.join(missing)} (it has {has}); "
            "an experiment needs train, validate and test, registered by register_fl_task"
        )
    functions = [registered[name] for name in FUNCTIONS]
    own_model = None if isinstance(model, ModelSpec) else model
    source = write_tasks([*functions, *(each for each in (own_model, shard) if each is not None)])
    arguments = task_arguments(tasks)
    return Experiment(
        settings=settings.for_nodes(),
        model=model.to_dict() if isinstance(model, ModelSpec) else model.__name__,
        tasks=source,
        arguments={name: arguments[name] for name in FUNCTIONS},
        shard=shard and shard.__name__,
    ).to_bytes()


def attach(federation: Federation, experiment_name: str) -> FederatedExperiment:
    """Follow an experiment that was submitted earlier, from any notebook: all its records, and its models.

    Raises:
        FederationError: the director knows no such experiment of ours.
    """
    experiment = FederatedExperiment(federation, experiment_name)
    try:
        experiment.status()
    except grpc.RpcError as error:
        raise FederationError(error.details()) from error
    return experiment


def list_experiments(federation: Federation) -> dict[str, str]:
    """Return the status of every experiment that was submitted from here, by name, oldest first."""
    return {item.name: item.status for item in federation.dir_client.get_experiments_list()}
