"""One experiment on a federation: submit it, follow it, stop or resume it, fetch its model."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
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
from superb_notebook.connect import FederationError, require_disjoint_shards, shard_cards
from superb_notebook.task_source import task_arguments, task_functions, write_tasks

logger = logging.getLogger(__name__)


class ExperimentFailed(ToldError):
    """The experiment ended without finishing; the message holds who failed and why."""


class FederatedExperiment:
    """One experiment on a federation.

    Args:
        federation: from `connect`.
        experiment_name: unique on the director; letters, digits, `-` and `_`; None makes one up.

    Attributes:
        text: what was submitted, besides the weights (see `superb_ks.experiment`); empty before.
    """

    def __init__(self, federation: Federation, experiment_name: str | None = None) -> None:
        if experiment_name is None:
            experiment_name = f"ks-{datetime.now():%Y%m%d-%H%M%S}"
        if not is_legal_name(experiment_name):
            raise ValueError(illegal_name("experiment name", experiment_name))
        self.federation, self.experiment_name = federation, experiment_name
        self.text = b""

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
            FederationError: too few envoys are online, or the director refuses.
        """
        try:
            self.text = _write(model, tasks, settings, shard)
        except UnsoundExperiment as error:
            raise FederationError(str(error)) from error
        envoys = self._require_envoys(settings.failures.min_envoys)
        weights = initial_weights
        if weights is None and not resume:
            weights = pack(model.build() if isinstance(model, ModelSpec) else model())
        client = self.federation.dir_client
        try:
            client.submit(
                self.experiment_name, envoys, self.text, weights, settings.addresses.aggregator_port
            )
        except grpc.RpcError as error:
            raise FederationError(f"the director refused the experiment: {error.details()}") from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record (see docs/design.md) from the first on, until the experiment ends.

        A link that breaks and is mended interrupts nothing: what came before is not yielded again.

        Raises:
            ExperimentFailed: it ended without finishing; raised after the last record.
        """
        failure, seen = "", 0
        while True:
            try:
                stream = self.federation.dir_client.stream_metrics(self.experiment_name)
                for record in itertools.islice(stream, seen, None):
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

    def _require_envoys(self, least: int) -> list[str]:
        """Return who takes part: all that are online and describe their shard."""
        cards = shard_cards(self.federation)
        online = sorted(cards)
        require_disjoint_shards(cards)
        if len(online) < least:
            raise FederationError(
                f"{len(online)} envoys are online ({', '.join(online) or 'none'}), min_envoys is {least}"
            )
        return online


def _write(
    model: ModelSpec | Callable[[], nn.Module],
    tasks: TaskInterface,
    settings: Settings,
    shard: Callable[[Any], Any] | None,
) -> bytes:
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
