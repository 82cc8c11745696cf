"""One experiment on a federation: submit it, follow it, stop or resume it, fetch its model."""

from __future__ import annotations

import itertools
import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from openfl.federated import Plan
from openfl.interface.interactive_api.experiment import FLExperiment
from openfl.interface.interactive_api.federation import Federation
from openfl.utilities.workspace import set_directory

from superb_ks.aggregator.assigner import ScheduledAssigner
from superb_ks.schedule import FUNCTIONS
from superb_ks.settings import Settings
from superb_ks.types import Vector
from superb_node.names import illegal_name, is_legal_name
from superb_notebook.archive import digest, pack_workspace
from superb_notebook.connect import FederationError, require_disjoint_shards, shard_cards

logger = logging.getLogger(__name__)


class ExperimentFailed(RuntimeError):
    """The experiment ended without finishing; the message holds who failed and why."""


class FederatedExperiment(FLExperiment):
    """One experiment on a federation, with OpenFL's own `start` to submit it.

    Args:
        federation: from `connect`.
        experiment_name: unique on the director; letters, digits, `-` and `_`; None makes one up.
    """

    def __init__(self, federation: Federation, experiment_name: str | None = None) -> None:
        if experiment_name is None:
            experiment_name = f"ks-{datetime.now():%Y%m%d-%H%M%S}"
        if not is_legal_name(experiment_name):
            raise ValueError(illegal_name("experiment name", experiment_name))
        self.archive_bytes: int | None = None
        self._envoys: list[str] = []
        self.archive_digest: str | None = None
        """By which the owners of director and envoys know what was submitted (see docs/approval.md)."""

        with _staging():
            super().__init__(federation, experiment_name)

    def start(
        self,
        *,
        model_provider: Any,
        task_keeper: Any,
        data_loader: Any,
        settings: Settings,
        resume: bool = False,
    ) -> None:
        """Submit the experiment: the package `superb_ks`, the pickled tasks and the initial weights.

        Args:
            model_provider: a `SpecifiedModel`.
            task_keeper: OpenFL's `TaskInterface` with the tasks `train`, `validate` and `test`.
            data_loader: a `ShardData`.
            settings: rounds, ports, and what happens when an envoy fails.
            resume: go on from the last aggregate of an interrupted experiment of this name.

        Raises:
            ValueError: one of the three tasks is missing.
            FederationError: too few envoys are online, or the director refuses.
        """
        _require_tasks(task_keeper)
        self._envoys = self._require_envoys(settings.failures.min_envoys)
        schedule = ScheduledAssigner(settings.rounds, settings.fraction, settings.seed)
        self.federation.dir_client.resume = resume
        try:
            with _staging():
                super().start(
                    model_provider=model_provider,
                    task_keeper=task_keeper,
                    data_loader=data_loader,
                    rounds_to_train=schedule.total_rounds,
                    task_assigner=schedule,
                    override_config=_plan_changes(settings),
                    device_assignment_policy="CUDA_PREFERRED",
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

    # OpenFL's own steps, corrected
    # ---------------------------------------------------------------------------

    def prepare_workspace_distribution(
        self,
        model_provider: Any,
        task_keeper: Any,
        data_loader: Any,
        task_assigner: Any,
        pip_install_options: tuple[str, ...] = (),
    ) -> None:
        """Write the plan, the pickles and the archive.

        Corrects: OpenFL overwrites `requirements.txt` with a `pip freeze` of the notebook's environment,
        and packs the whole working directory, checkpoints, logs and data included.

        Raises:
            FederationError: the archive is too large.
        """
        self.plan.authorized_cols = self._envoys
        self._serialize_interface_objects(model_provider, task_keeper, data_loader, task_assigner)
        spec = getattr(model_provider, "spec", None)
        # An envoy gets the model's files ready before the experiment begins, which may not do so itself.
        self.plan.config["submission"]["settings"]["model"] = getattr(spec, "name", "")
        Plan.dump(Path("plan") / self.plan.name, self.plan.config, freeze=False)
        archive = pack_workspace(Path.cwd(), with_checkpoint=getattr(spec, "travels", False))
        self.arch_path, self.archive_bytes = str(archive), archive.stat().st_size
        self.archive_digest = digest(archive)

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


@contextmanager
def _staging() -> Iterator[None]:
    """Work in a temporary folder: OpenFL writes plans, pickles and archives into the working directory."""
    with tempfile.TemporaryDirectory(prefix="superb-ks-") as folder, set_directory(Path(folder)):
        Path("plan").mkdir()
        yield


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


def _require_tasks(task_keeper: Any) -> None:
    registered = sorted(task_keeper.task_registry)
    missing = [name for name in FUNCTIONS if name not in registered]
    if missing:
        raise ValueError(
            f"the task keeper lacks {', '.join(missing)} (it has {', '.join(registered) or 'no task'}); "
            "an experiment needs train, validate and test, registered by register_fl_task"
        )


def _plan_changes(settings: Settings) -> dict[str, Any]:
    """Put our aggregator and collaborator into OpenFL's plan."""
    strategy = settings.strategy.to_dict()
    privacy = settings.privacy.to_dict() if settings.privacy else {}
    failures = settings.failures
    return {
        "aggregator.template": "superb_ks.aggregator.aggregator.PackedAggregator",
        "aggregator.settings.min_collaborators": failures.min_envoys,
        "aggregator.settings.round_timeout_seconds": failures.round_timeout_seconds,
        "aggregator.settings.on_task_error": failures.on_task_error,
        # One entry for each: OpenFL flattens its plan for changes, and refuses a dictionary.
        **{f"aggregator.settings.strategy.{name}": value for name, value in strategy.items()},
        **{f"aggregator.settings.privacy.{name}": value for name, value in privacy.items()},
        "collaborator.template": "superb_ks.collaborator.collaborator.PackedCollaborator",
        "network.settings.agg_port": settings.addresses.aggregator_port,
        # Corrects: equal plans make equal ids, so that a collaborator that an earlier experiment left
        # behind (or this one, before it was resumed) would be taken for one of this.
        "submission.settings.id": uuid.uuid4().hex,
    }
