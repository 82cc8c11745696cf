"""The data scientist's side of a federation: connect, submit an experiment, follow it, fetch its model."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from openfl.federated import Plan
from openfl.interface.interactive_api.experiment import FLExperiment
from openfl.interface.interactive_api.federation import Federation
from openfl.utilities.workspace import set_directory

from superb_ks import messages
from superb_ks.averaging import Vector
from superb_ks.schedule import RoundSchedule
from superb_ks.settings import Settings

logger = logging.getLogger(__name__)

#: Names become folder names on every node, so they are held to letters, digits, ``-`` and ``_``.
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
#: OpenFL repeats the whole model in every chunk of the archive; one chunk means that it is sent once.
MAX_ARCHIVE_BYTES = 2 * 1024 * 1024

_PACKAGE = Path(__file__).resolve().parent
_COMPONENTS = {
    "aggregator.template": "superb_ks.aggregator.PackedAggregator",
    "collaborator.template": "superb_ks.collaborator.PackedCollaborator",
}


class FederationError(RuntimeError):
    """The federation cannot do what was asked; the message says what to do about it."""


class ExperimentFailed(RuntimeError):
    """The experiment ended without finishing; the message holds who failed and why."""


def connect(settings: Settings) -> Federation:
    """Connect to the director at ``settings.director_host:director_port``, without TLS.

    Raises:
        FederationError: nobody answers there.
    """
    # Corrects: OpenFL installs a log handler of its own and reports every call at level INFO.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("openfl").setLevel(logging.ERROR)
    address = f"{settings.director_host}:{settings.director_port}"
    try:
        return Federation(
            client_id="notebook",
            director_node_fqdn=settings.director_host,
            director_port=str(settings.director_port),
            tls=False,
        )
    except grpc.RpcError as error:
        raise FederationError(
            f"no director answers at {address} ({error.code().name}). "
            "Start one: cd director && bash start_director.sh"
        ) from error


def shard_cards(federation: Federation) -> dict[str, dict[str, Any]]:
    """Return the shard card (see docs/design.md) of every envoy that is online, by envoy name."""
    return {
        name: json.loads(info["shard_info"].shard_description)
        for name, info in sorted(federation.get_shard_registry().items())
        if info["is_online"]
    }


def shared_labels(cards: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Return the class names that all shards agree on.

    Raises:
        FederationError: no shard is online, or two shards have different classes.
    """
    if not cards:
        raise FederationError("no envoy is online. Start one: cd envoy && bash start_envoy.sh")
    by_labels: dict[tuple[str, ...], list[str]] = {}
    for name, card in cards.items():
        by_labels.setdefault(tuple(card["labels"]), []).append(name)
    if len(by_labels) > 1:
        sides = "; ".join(f"{', '.join(names)}: {' '.join(labels)}" for labels, names in by_labels.items())
        raise FederationError(f"the envoys' shards have different classes: {sides}")
    return next(iter(by_labels))


class FederatedExperiment(FLExperiment):
    """One experiment on a federation, with OpenFL's own ``start`` to submit it.

    Args:
        federation: from :func:`connect`.
        experiment_name: unique on the director; letters, digits, ``-`` and ``_``.
    """

    def __init__(self, federation: Federation, experiment_name: str) -> None:
        if not NAME_PATTERN.fullmatch(experiment_name):
            raise ValueError(
                f"experiment name {experiment_name!r}: legal are a letter, then up to 62 letters, "
                "digits, '-' or '_'"
            )
        # OpenFL writes plans, pickles and archives into the working directory; ours go elsewhere.
        self._staging = tempfile.TemporaryDirectory(prefix="superb-ks-")
        self.archive_bytes: int | None = None
        with set_directory(Path(self._staging.name)):
            super().__init__(federation, experiment_name)

    def start(  # type: ignore[override]
        self, *, model_provider: Any, task_keeper: Any, data_loader: Any, settings: Settings
    ) -> None:
        """Submit the experiment: the package ``superb_ks``, the pickled tasks and the initial weights.

        Raises:
            FederationError: too few envoys are online, or the director refuses.
        """
        self._require_envoys(settings.min_envoys)
        schedule = RoundSchedule(settings.rounds)
        try:
            with set_directory(Path(self._staging.name)):
                super().start(
                    model_provider=model_provider,
                    task_keeper=task_keeper,
                    data_loader=data_loader,
                    rounds_to_train=schedule.total_rounds,
                    task_assigner=schedule,
                    override_config={
                        **_COMPONENTS,
                        "network.settings.agg_port": settings.aggregator_port,
                    },
                    device_assignment_policy="CUDA_PREFERRED",
                )
        except grpc.RpcError as error:
            raise FederationError(f"the director refused the experiment: {error.details()}") from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record (see docs/design.md) from the first on, until the experiment ends.

        Raises:
            ExperimentFailed: it ended without finishing; raised after the last record.
        """
        failure = None
        for record in self.federation.dir_client.stream_metrics(self.experiment_name):
            if record["task_name"] == "failure":
                failure = f"{record['metric_origin']}: {record['metric_name']}"
            yield record
        status = self.status()
        if failure or status != "finished":
            raise ExperimentFailed(f"experiment {self.experiment_name} {status}. {failure or ''}".strip())

    def status(self) -> str:
        """Return ``pending``, ``in_progress``, ``finished``, ``failed`` or ``rejected``."""
        reply = self.federation.dir_client.get_experiment_status(self.experiment_name)
        return str(reply.experiment_status)

    def best_weights(self) -> Vector:
        """Fetch the packed weights, float32 ``[size]``, of the model with the best validation score.

        Raises:
            FederationError: the director has none.
        """
        tensors = self.federation.dir_client.get_best_model(self.experiment_name)
        if messages.TRAINED not in tensors:
            raise FederationError(f"the director holds no model of experiment {self.experiment_name}")
        return tensors[messages.TRAINED]

    # OpenFL's own steps, corrected ---------------------------------------------------------------------------

    def prepare_workspace_distribution(
        self,
        model_provider: Any,
        task_keeper: Any,
        data_loader: Any,
        task_assigner: Any,
        pip_install_options: tuple[str, ...] = (),
    ) -> None:
        """Write the plan, the pickles and the archive.

        Corrects: OpenFL overwrites ``requirements.txt`` with a ``pip freeze`` of the notebook's environment.
        """
        self._serialize_interface_objects(model_provider, task_keeper, data_loader, task_assigner)
        Plan.dump(Path("plan") / self.plan.name, self.plan.config, freeze=False)
        self.arch_path = self._pack_the_workspace()

    def _pack_the_workspace(self) -> str:  # type: ignore[override]
        """Pack the plan, the pickles and this package's sources; nothing else.

        Corrects: OpenFL packs the whole working directory, checkpoints, logs and data included.
        """
        staging = Path(self._staging.name)
        contents = staging / "archive"
        shutil.rmtree(contents, ignore_errors=True)
        shutil.copytree(_PACKAGE, contents / _PACKAGE.name, ignore=_not_sources)
        shutil.copytree(staging / "plan", contents / "plan")
        for pickled in staging.glob("*.pkl"):
            shutil.copy(pickled, contents)
        archive = shutil.make_archive(str(staging / "workspace"), "zip", contents)
        self.archive_bytes = Path(archive).stat().st_size
        if self.archive_bytes > MAX_ARCHIVE_BYTES:
            raise FederationError(
                f"the experiment's archive has {self.archive_bytes} bytes, {MAX_ARCHIVE_BYTES} are allowed; "
                "does a task refer to a large object (a model, a data set) of the notebook?"
            )
        return archive

    def _require_envoys(self, least: int) -> None:
        online = sorted(shard_cards(self.federation))
        if len(online) < least:
            raise FederationError(
                f"{len(online)} envoys are online ({', '.join(online) or 'none'}), min_envoys is {least}"
            )


def _not_sources(folder: str, names: list[str]) -> list[str]:
    """Name what of the package is not shipped: everything but Python sources and folders of them."""
    return [
        name
        for name in names
        if name == "__pycache__" or not (name.endswith(".py") or (Path(folder) / name).is_dir())
    ]


