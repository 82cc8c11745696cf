"""A short fuzz run; the long one is `python -m tests.fuzz`."""

from pathlib import Path

from openfl.protocols import aggregator_pb2_grpc
from openfl.transport.grpc import aggregator_server

from tests.fuzz.run import fuzz_in_process

INPUTS = 500


def test_nothing_that_is_sent_crashes_hangs_or_ends_an_experiment(tmp_path: Path, monkeypatch) -> None:
    for module, name in (  # what the run puts in their places is put back
        (aggregator_pb2_grpc, "add_AggregatorServicer_to_server"),
        (aggregator_server, "cpu_count"),
        (aggregator_server, "channel_options"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    outcomes, flaws, _ = fuzz_in_process(INPUTS, seed=0)
    assert flaws == []
    assert outcomes.total() >= INPUTS
    assert {"aggregator: answered", "director: answered", "experiment: read"} <= set(outcomes)
    refused = {"aggregator: INVALID_ARGUMENT", "director: INVALID_ARGUMENT", "experiment: refused"}
    assert refused <= set(outcomes)
