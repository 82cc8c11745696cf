"""Records of a small experiment, worked out by hand, as the director would stream them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

ENVOYS = ("env_one", "env_two")
LABELS = ("yes", "no", "up")
CLIPS = {"env_one": 30, "env_two": 10}  # unequal, so that a plain mean of two accuracies is wrong
# Clips classified correctly by the model after this many rounds of training.
VALIDATED = ({"env_one": 10, "env_two": 3}, {"env_one": 21, "env_two": 9}, {"env_one": 20, "env_two": 8})
TESTED = ({"env_one": 9, "env_two": 4}, {"env_one": 25, "env_two": 6})
LOSS = {"env_one": 1.0, "env_two": 2.0}
POOLED_LOSS = 1.25  # (30 * 1.0 + 10 * 2.0) / 40
UPDATE_BYTES = 4000


def record(openfl_round: int, origin: str, task: str, metric: str, value: float) -> dict[str, Any]:
    """Return one record; its value has been a 32-bit float on the way."""
    return {
        "round": openfl_round,
        "metric_origin": origin,
        "task_name": task,
        "metric_name": metric,
        "metric_value": float(np.float32(value)),
    }


def scores(openfl_round: int, task: str, correct: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield what each envoy reports of an evaluation."""
    for name, right in correct.items():
        yield record(openfl_round, name, task, "clips", CLIPS[name])
        yield record(openfl_round, name, task, "accuracy", right / CLIPS[name])
        yield record(openfl_round, name, task, "loss", LOSS[name])


def pooled_scores(openfl_round: int, task: str, correct: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield what the aggregator makes of them."""
    clips = sum(CLIPS.values())
    yield record(openfl_round, "aggregator", task, "clips", clips)
    yield record(openfl_round, "aggregator", task, "accuracy", sum(correct.values()) / clips)
    yield record(openfl_round, "aggregator", task, "loss", POOLED_LOSS)


def training(openfl_round: int) -> Iterator[dict[str, Any]]:
    """Yield what each envoy reports of its training."""
    for name in ENVOYS:
        yield record(openfl_round, name, "train", "clips", CLIPS[name])
        yield record(openfl_round, name, "train", "loss", LOSS[name])
        yield record(openfl_round, name, "train", "bytes_up", UPDATE_BYTES)


def closing(openfl_round: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the end of a round."""
    yield record(openfl_round, "aggregator", "round", "seconds", seconds)


def two_rounds() -> Iterator[dict[str, Any]]:
    """Yield all records of an experiment of two training rounds, the first of which makes the best model."""
    yield from scores(0, "validate", VALIDATED[0])
    yield from scores(0, "test_initial", TESTED[0])
    yield from training(0)
    yield from pooled_scores(0, "validate", VALIDATED[0])
    yield from pooled_scores(0, "test_initial", TESTED[0])
    yield record(0, "aggregator", "train", "loss", POOLED_LOSS)
    yield from closing(0, 12.5)
    yield from scores(1, "validate", VALIDATED[1])
    yield from training(1)
    yield from pooled_scores(1, "validate", VALIDATED[1])
    yield record(1, "aggregator", "train", "loss", POOLED_LOSS)
    yield from closing(1, 11.5)
    yield from scores(2, "validate", VALIDATED[2])
    yield from pooled_scores(2, "validate", VALIDATED[2])
    yield from closing(2, 1.5)
    yield from scores(3, "test_best", TESTED[1])
    yield from pooled_scores(3, "test_best", TESTED[1])
    for (i, j), count in {(0, 0): 11, (0, 1): 2, (1, 1): 12, (1, 2): 7, (2, 2): 8}.items():
        yield record(3, "env_one", "test_best", f"confusion[{i},{j}]", 1)
        yield record(3, "aggregator", "test_best", f"confusion[{i},{j}]", count)
    yield from closing(3, 1.5)


def with_a_round_that_nobody_trained() -> list[dict[str, Any]]:
    """Return the same experiment, but that the envoys drawn for its second round dropped out."""
    trained = [item for item in two_rounds() if (item["round"], item["task_name"]) != (1, "train")]
    return [*trained, record(1, "aggregator", "unchanged", "no usable update came from env_one", 0.0)]


def stopped_after_two_of(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the same experiment, but that more rounds were planned and the second one was the last."""
    why = f"validation accuracy 0.7500, target 0.75; 2 of {rounds} rounds trained"
    for item in two_rounds():
        if (item["round"], item["task_name"]) == (1, "round"):
            yield record(1, "aggregator", "stopped_early", why, 0.0)
        yield item


def card(**changes: Any) -> dict[str, Any]:
    """Return a shard card."""
    counts = dict.fromkeys(LABELS, 10)
    return {
        "labels": list(LABELS),
        "clips": {"train": counts, "val": counts, "test": counts},
        "speakers": {"train": 7, "val": 2, "test": 3},
        "seconds": {"train": 30.0, "val": 30.0, "test": 30.0},
        "source": "synthetic",
        "partition": "iid",
        "rank": 1,
        "world_size": 2,
        **changes,
    }
