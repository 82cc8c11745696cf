"""What making an aggregator puts in OpenFL's place is put back."""

import pytest


@pytest.fixture
def openfl_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo, after a test that makes aggregators, what they correct in OpenFL's modules."""
    from openfl.protocols import aggregator_pb2_grpc
    from openfl.transport.grpc import aggregator_server

    for module, name in (
        (aggregator_pb2_grpc, "add_AggregatorServicer_to_server"),
        (aggregator_server, "cpu_count"),
        (aggregator_server, "channel_options"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
