"""The collaborator of an experiment: fetches the model, runs the tasks, delivers what they return."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from openfl.component.assigner.tasks import Task
from torch import nn

from superb_ks.collaborator.aggregator_client import AggregatorConnection, ExperimentOver, RoundOver
from superb_ks.collaborator.one_task import do_task
from superb_ks.collaborator.shard_data import open_shard
from superb_ks.collaborator.shared_memory_model import SharedMemoryModel
from superb_ks.collaborator.tasks import Tasks
from superb_ks.experiment import Experiment
from superb_ks.metrics import CLIPS
from superb_ks.model.packing import unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.schedule import PERSONALISE, TEST_BEST
from superb_ks.transport import messages
from superb_ks.types import Vector

logger = logging.getLogger(__name__)


class Collaborator:
    """Collaborator for models that travel as one packed vector.

    It takes the place of OpenFL's own, which fetches and sends every tensor in a call of its own, sleeps, and
    unpickles what it runs.

    Args:
        name: the envoy's.
        tasks: of the experiment.
        model: whose trainable parameters are federated.
        shard: what the tasks get as their data.
        aggregator: the line to it.
        device: on which the tasks compute, such as "cpu" or "cuda:0".
        keep: is given the packed weights of a personal model, float32 `[size]`, if it is the better one.
    """

    def __init__(
        self,
        name: str,
        *,
        tasks: Tasks,
        model: nn.Module,
        shard: Any,
        aggregator: AggregatorConnection,
        device: str = "cpu",
        keep: Callable[[Vector], None],
    ) -> None:
        self.name = name
        self._tasks, self._shard, self._device = tasks, shard, device
        self._aggregator, self._keep = aggregator, keep
        self._network = model
        self._model = SharedMemoryModel(model)
        self._holds: tuple[int, tuple[str, ...]] | None = None
        self._received = 0

    def run(self) -> None:
        """Work until the aggregator says that it is time to quit, or another one has taken its place."""
        try:
            self._work()
        except ExperimentOver as over:
            logger.warning("%s: %s", self.name, over)

    def _work(self) -> None:
        while True:
            # Waits on the aggregator's side until there is something to do.
            tasks, round_number, time_to_quit = self._aggregator.wait_for_tasks()
            if time_to_quit:
                logger.info("%s: experiment over", self.name)
                return
            try:
                for task in tasks:
                    self._do_task(task, round_number)
            except RoundOver as over:
                logger.warning("%s: %s was closed without us", self.name, over)

    def _do_task(self, task: Task, round_number: int) -> None:
        """Run one task on the model it needs and deliver its weights and metrics."""
        logger.info("%s: round %d, %s", self.name, round_number, task.name)
        started = time.monotonic()
        self._load_model(task, round_number)
        metrics, trained = do_task(
            self._tasks,
            task.name,
            task.function_name,
            model=self._network,
            shard=self._shard,
            device=self._device,
            round_number=round_number,
            keep=self._keep,
        )
        weights = self._model.pack(self._network) if trained else None
        metrics["seconds"] = time.monotonic() - started
        clips = int(metrics.pop(CLIPS))
        self._aggregator.deliver(round_number, task.name, clips, metrics, weights)

    def _load_model(self, task: Task, round_number: int) -> None:
        """Fetch the model for `task`; a round's tasks share one fetch, until one of them changes a weight.

        Raises:
            ValueError: what was received is not finite.
        """
        wanted = (round_number, messages.BEST if task.name in (TEST_BEST, PERSONALISE) else messages.CURRENT)
        if self._holds != wanted or self._received != self._model.checksum():
            self._holds = None  # as long as it is not complete
            self._aggregator.fetch(self._model.vector, *wanted)
            self._holds, self._received = wanted, self._model.checksum()
        self._network.to(self._device)
        unpack(self._model.vector, self._network)


def make_collaborator(
    name: str,
    experiment: Experiment,
    shard_descriptor: Any,
    aggregator: AggregatorConnection,
    device: str,
    keep: Callable[[Vector], None],
) -> Collaborator:
    """Run the source of an experiment's tasks, build its model and open the shard.

    Raises:
        ValueError: the model's specification is none, or a function is missing.
        ModelMismatch: this node builds other weights than the author did.
        ModelUnavailable: this node can neither find nor download the model.
    """
    tasks = Tasks(experiment)
    if isinstance(experiment.model, str):
        spec, model = None, tasks.function(experiment.model)()
    else:
        spec = ModelSpec.from_dict(experiment.model)
        model = spec.build()
    if experiment.shard is not None:
        shard = tasks.function(experiment.shard)(shard_descriptor)
    elif spec is not None:
        shard = open_shard(shard_descriptor, spec.feature_extractor())
    else:
        raise ValueError("an experiment with its own model needs its own function that opens a shard")
    return Collaborator(
        name, tasks=tasks, model=model, shard=shard, aggregator=aggregator, device=device, keep=keep
    )
