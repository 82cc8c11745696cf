"""The collaborator of an experiment: fetches the model, runs the notebook's tasks, sends what they return."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from openfl.component.assigner.tasks import Task
from openfl.component.collaborator import Collaborator
from openfl.component.collaborator.collaborator import DevicePolicy

from superb_ks import messages
from superb_ks.averaging import Vector
from superb_ks.metrics import CLIPS
from superb_ks.openfl_corrections import keep_connected
from superb_ks.schedule import TEST_BEST

logger = logging.getLogger(__name__)


class PackedCollaborator(Collaborator):
    """Collaborator for models that travel as one packed vector.

    It replaces OpenFL's way of fetching and sending every tensor in a call of its own, and its sleeps.

    Args:
        patience_seconds: how long an aggregator that does not answer is waited for.
        settings: what OpenFL's plan gives to its own collaborator.
    """

    def __init__(self, *, patience_seconds: float = 60.0, **settings: Any) -> None:
        super().__init__(**settings)
        keep_connected(self.client, patience_seconds)
        self._fetched: tuple[tuple[int, tuple[str, ...]], Vector] | None = None

    def run(self) -> None:
        """Work until the aggregator says that it is time to quit."""
        while True:
            # Waits on the aggregator's side until there is something to do.
            tasks, round_number, _, time_to_quit = self.client.get_tasks(self.collaborator_name)
            if time_to_quit:
                logger.info("%s: experiment over", self.collaborator_name)
                return
            for task in tasks:
                self.do_task(task, round_number)

    def do_task(self, task: Task, round_number: int) -> dict[str, Any]:
        """Run one task on the model it needs and send its weights and metrics; returns the metrics."""
        logger.info("%s: round %d, %s", self.collaborator_name, round_number, task.name)
        started = time.monotonic()
        weights, metrics = self._run(task, round_number)
        metrics["seconds"] = time.monotonic() - started
        clips = int(metrics.pop(CLIPS, self._default_clips(task)))
        outgoing = [messages.metric_message(name, value, round_number) for name, value in metrics.items()]
        if weights is not None:
            outgoing.append(messages.vector_message(weights, round_number, (messages.TRAINED,)))
        self.client.send_local_task_results(
            self.collaborator_name, round_number, task.name, clips, outgoing
        )
        return metrics

    def _run(self, task: Task, round_number: int) -> tuple[Vector | None, dict[str, Any]]:
        """Call the task through OpenFL's task runner, which loads the weights and binds the arguments."""
        vector = self._model_for(task, round_number)
        settings = {} if task.task_type == "train" else {"apply": "global"}
        outputs, _ = self.task_runner.TASK_REGISTRY[task.function_name](
            col_name=self.collaborator_name,
            round_num=round_number,
            input_tensor_dict={messages.TRAINED: vector},
            device=self._device(),
            **settings,
        )
        weights = [value for key, value in outputs.items() if "metric" not in key.tags]
        metrics = {key.tensor_name: value for key, value in outputs.items() if "metric" in key.tags}
        return (np.asarray(weights[0], np.float32) if weights else None), metrics

    def _model_for(self, task: Task, round_number: int) -> Vector:
        """Fetch the model for ``task``; a round's tasks share one fetch."""
        wanted = (round_number, messages.BEST if task.name == TEST_BEST else messages.CURRENT)
        if self._fetched is None or self._fetched[0] != wanted:
            self._fetched = None  # the old model goes before the new one comes
            message = self.client.get_aggregated_tensor(
                self.collaborator_name, messages.TRAINED, round_number, False, wanted[1], True
            )
            self._fetched = (wanted, messages.read_vector(message))
        return self._fetched[1]

    def _device(self) -> str:
        prefers_cuda = self.device_assignment_policy is DevicePolicy.CUDA_PREFERRED
        return f"cuda:{self.cuda_devices[0]}" if prefers_cuda and self.cuda_devices else "cpu"

    def _default_clips(self, task: Task) -> int:
        """Weight of a task that does not say how many clips it used."""
        if task.task_type == "train":
            return int(self.task_runner.get_train_data_size())
        return int(self.task_runner.get_valid_data_size())
