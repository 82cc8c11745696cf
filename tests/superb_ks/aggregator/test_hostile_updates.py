"""Whatever one envoy sends, what is published is finite, and who is refused is named."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.model_file import ModelFile
from superb_ks.aggregator.strategies.updates import MAX_WEIGHT
from superb_ks.aggregator.uploads import Results
from superb_ks.settings import STRATEGIES, Privacy
from tests.support.aggregator import aggregator_on, new_state_folder

SIZE, ROUNDS, NAMES = 2, 3, "abc"
MAX_CLIPS = 2**31 - 1  # more do not fit into OpenFL's message
LARGEST = float(np.float32(MAX_WEIGHT))
FLOAT32 = float(np.finfo(np.float32).max)
TINIEST = float(np.finfo(np.float32).smallest_subnormal)

pytestmark = pytest.mark.usefixtures("openfl_put_back")

WEIGHT = st.one_of(
    st.sampled_from([0.0, -0.0, LARGEST, -LARGEST, TINIEST, -TINIEST, FLOAT32, -FLOAT32]),
    st.floats(-LARGEST, LARGEST, width=32),
    st.floats(width=32),
)
UPDATE = st.tuples(st.integers(1, MAX_CLIPS) | st.just(MAX_CLIPS), st.tuples(*[WEIGHT] * SIZE))
ROUND = st.tuples(*[UPDATE] * len(NAMES))

KINDS: dict[str, dict[str, Any]] = {name: {"strategy": kind()} for name, kind in STRATEGIES.items()}
KINDS["private"] = {"privacy": Privacy(clip_norm=1.0, noise_multiplier=1.0)}


def every_weight(value: float) -> tuple[int, tuple[float, ...]]:
    return MAX_CLIPS, (value,) * SIZE


@contextlib.contextmanager
def running(at: Path, **chosen) -> Iterator[Aggregator]:
    aggregator = aggregator_on(at, list(NAMES), ROUNDS, **chosen)
    try:
        yield aggregator
    finally:
        aggregator.stop(reason="the test is over")
        aggregator.state.close()


@pytest.fixture
def new_folder(tmp_path: Path) -> Callable[[], Path]:
    """What makes a folder at each call: hypothesis needs one for each example."""
    numbers = itertools.count()
    return lambda: new_state_folder(tmp_path / str(next(numbers)), SIZE)


def take_in(aggregator: Aggregator, sent) -> None:
    """Let everybody do a round's tasks, with one update each of `sent`."""
    for name, (clips, weights) in zip(NAMES, sent, strict=True):
        for task in aggregator.get_tasks(name)[0] or []:
            metrics = {"accuracy": np.asarray(0.5), "loss": np.asarray(1.0)}
            update = np.asarray(weights, np.float32) if task.task_type == "train" else None
            results = Results(metrics, update)
            aggregator.send_local_task_results(name, aggregator.round_number, task.name, clips, results)


def refused(aggregator: Aggregator, number: int) -> set[str]:
    return {
        record["metric_origin"]
        for record in aggregator.records
        if (record["task_name"], record["round"]) == ("refused", number)
    }


def is_published_finite(aggregator: Aggregator) -> bool:
    """Say whether the model on the disk, and the moments beside it, hold finite numbers alone."""
    tensors = {"round-*[0-9].safetensors": ("trained",), "*.moments.safetensors": ("m", "v")}
    return all(
        bool(np.isfinite(ModelFile(file, tensor).read()).all())
        for pattern, names in tensors.items()
        for file in aggregator.state.folder.glob(pattern)
        for tensor in names
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(sent=[[every_weight(LARGEST)] * 3] * ROUNDS)
@example(sent=[[every_weight(LARGEST * (-1) ** number)] * 3 for number in range(ROUNDS)])
@example(sent=[[every_weight(FLOAT32), every_weight(1.0), every_weight(TINIEST)]] * ROUNDS)
@given(sent=st.lists(ROUND, min_size=ROUNDS, max_size=ROUNDS))
def test_what_is_published_is_finite_whatever_comes(new_folder, kind, sent):
    """Three rounds, so that moments are made, used and used again. Who sends too much is refused by name."""
    with running(new_folder(), **KINDS[kind]) as aggregator:
        for number, updates in enumerate(sent):
            take_in(aggregator, updates)
            weights = {name: np.abs(weights) for name, (_, weights) in zip(NAMES, updates, strict=True)}
            bad = {name for name, values in weights.items() if not (values <= LARGEST).all()}
            assert refused(aggregator, number) == bad
            assert is_published_finite(aggregator)
            if len(bad) == len(NAMES):
                assert "no collaborator sent an update that could be averaged" in aggregator.failure
                assert aggregator.round_number == number
                return
            assert aggregator.failure is None
            assert aggregator.round_number == number + 1


@pytest.mark.parametrize("strategy", ["fedadam", "fedyogi"])
@pytest.mark.parametrize("absurd", [{"learning_rate": 1e300}, {"tau": 1e-300}, {"tau": 1e300}])
def test_parameters_that_lead_beyond_float32_end_the_experiment_and_it_can_be_resumed(
    new_folder, strategy, absurd
):
    """Their author is to blame, and nobody's update: the round's start is kept."""
    at = new_folder()
    with running(at, strategy=STRATEGIES[strategy](**absurd)) as aggregator:
        take_in(aggregator, [(1, (1.0, 0.0))] * 3)
        assert "round 0 could not be closed: values of round-1." in aggregator.failure
        assert aggregator.failure.endswith("safetensors are not finite (NaN or infinity)")
    with running(at) as resumed:
        take_in(resumed, [(1, (1.0, 0.0))] * 3)
        assert resumed.failure is None and resumed.round_number == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_that_nobody_sent_anything_usable_in_can_be_run_again(new_folder, kind):
    at = new_folder()
    with running(at, **KINDS[kind]) as aggregator:
        take_in(aggregator, [(1, (1.0, -1.0))] * 3)
        take_in(aggregator, [every_weight(FLOAT32)] * 3)
        assert refused(aggregator, 1) == set(NAMES)
        assert "round 1 could not be closed: no collaborator sent an update" in aggregator.failure
    with running(at, **KINDS[kind]) as resumed:
        for number in (1, 2):
            assert resumed.round_number == number
            take_in(resumed, [(1, (1.0, -1.0))] * 3)
        assert resumed.failure is None
