"""One task of a round on this node's clips, whichever engine asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from superb_ks.collaborator.personal import personalise
from superb_ks.collaborator.tasks import Tasks
from superb_ks.metrics import CLIPS
from superb_ks.schedule import CLOSING_ROUNDS, PERSONALISE
from superb_ks.types import Vector


def do_task(
    tasks: Tasks,
    name: str,
    function: str,
    *,
    model: nn.Module,
    shard: Any,
    device: str,
    round_number: int,
    keep: Callable[[Vector], None],
) -> tuple[dict[str, Any], bool]:
    """Do a task on a model.

    Args:
        tasks: of the experiment.
        name, function: the task's, and that of the function which does it.
        model: holds the federated weights.
        shard: what the tasks get as their data.
        device: on which they compute.
        round_number: of the schedule.
        keep: is given the packed weights of a personal model, float32 `[size]`, if it is the better one.

    Returns:
        The metrics, and whether the model was trained for the federation.

    Raises:
        ValueError: the metrics do not say on how many clips the task worked.
    """
    if name == PERSONALISE:
        number = round_number - CLOSING_ROUNDS
        metrics, own = personalise(tasks, model, shard, device, round_number=number)
        if own is not None:
            keep(own)
    else:
        metrics = tasks.run(function, model=model, shard=shard, device=device, round_number=round_number)
    if CLIPS not in metrics:
        raise ValueError(f"the task {function} returned no {CLIPS!r}: how many it worked on")
    return metrics, name != PERSONALISE and tasks.trains(function)
