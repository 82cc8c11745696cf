"""The collaborator of an experiment: fetches the model, runs the tasks, delivers what they return."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from openfl.component.assigner.tasks import Task
from openfl.component.collaborator import Collaborator
from openfl.component.collaborator.collaborator import DevicePolicy

from superb_ks.collaborator.aggregator_client import AggregatorConnection, ExperimentOver, RoundOver
from superb_ks.collaborator.shared_memory_model import SharedMemoryModel
from superb_ks.metrics import CLIPS
from superb_ks.schedule import TEST_BEST
from superb_ks.transport import messages
from superb_ks.types import Vector

logger = logging.getLogger(__name__)


class PackedCollaborator(Collaborator):
    """Collaborator for models that travel as one packed vector.

    It takes the place of OpenFL's own, which fetches and sends every tensor in a call of its own, and sleeps.

    Args:
        patience_seconds: how long an aggregator that does not answer is waited for.
        settings: what OpenFL's plan gives to its own collaborator.
    """

    def __init__(self, *, patience_seconds: float = 60.0, **settings: Any) -> None:
        super().__init__(**settings)
        self._aggregator = AggregatorConnection(self.client, self.collaborator_name, patience_seconds)
        self._model = SharedMemoryModel(self.task_runner.model)
        self._holds: tuple[int, tuple[str, ...]] | None = None
        self._received = 0
        self.task_runner.framework_adapter.pack = self._model.pack

    def run(self) -> None:
        """Work until the aggregator says that it is time to quit, or another one has taken its place."""
        try:
            self._work()
        except ExperimentOver as over:
            logger.warning("%s: %s", self.collaborator_name, over)

    def _work(self) -> None:
        while True:
            # Waits on the aggregator's side until there is something to do.
            tasks, round_number, time_to_quit = self._aggregator.wait_for_tasks()
            if time_to_quit:
                logger.info("%s: experiment over", self.collaborator_name)
                return
            try:
                for task in tasks:
                    self.do_task(task, round_number)
            except RoundOver as over:
                logger.warning("%s: %s was closed without us", self.collaborator_name, over)

    def do_task(self, task: Task, round_number: int) -> dict[str, Any]:
        """Run one task on the model it needs and deliver its weights and metrics; returns the metrics."""
        logger.info("%s: round %d, %s", self.collaborator_name, round_number, task.name)
        started = time.monotonic()
        weights, metrics = self._run(task, round_number)
        metrics["seconds"] = time.monotonic() - started
        clips = int(metrics.pop(CLIPS, self._default_clips(task)))
        self._aggregator.deliver(round_number, task.name, clips, metrics, weights)
        return metrics

    def _run(self, task: Task, round_number: int) -> tuple[Vector | None, dict[str, Any]]:
        """Call the task through OpenFL's task runner, which loads the weights and binds the arguments."""
        inputs = {messages.TRAINED: self._model_for(task, round_number)}
        settings = {} if task.task_type == "train" else {"apply": "global"}
        outputs, _ = self.task_runner.TASK_REGISTRY[task.function_name](
            col_name=self.collaborator_name,
            round_num=round_number,
            input_tensor_dict=inputs,
            device=self._device(),
            **settings,
        )
        weights = [value for key, value in outputs.items() if "metric" not in key.tags]
        metrics = {key.tensor_name: value for key, value in outputs.items() if "metric" in key.tags}
        return (np.asarray(weights[0], np.float32) if weights else None), metrics

    def _model_for(self, task: Task, round_number: int) -> Vector:
        """Fetch the model for `task`; a round's tasks share one fetch, until one of them changes a weight."""
        wanted = (round_number, messages.BEST if task.name == TEST_BEST else messages.CURRENT)
        if self._holds != wanted or self._received != self._model.checksum():
            self._holds = None  # as long as it is not complete
            self._aggregator.fetch(self._model.vector, *wanted)
            self._holds, self._received = wanted, self._model.checksum()
        return self._model.vector

    def _device(self) -> str:
        prefers_cuda = self.device_assignment_policy is DevicePolicy.CUDA_PREFERRED
        return f"cuda:{self.cuda_devices[0]}" if prefers_cuda and self.cuda_devices else "cpu"

    def _default_clips(self, task: Task) -> int:
        """Weight of a task that does not say how many clips it used."""
        if task.task_type == "train":
            return int(self.task_runner.get_train_data_size())
        return int(self.task_runner.get_valid_data_size())
