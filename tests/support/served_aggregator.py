"""An aggregator that is served on the loopback as the director serves it, and the client of an envoy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from openfl.transport import AggregatorGRPCClient, AggregatorGRPCServer

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.service import add_servicer_to_server


@contextmanager
def serving(aggregator: Aggregator) -> Iterator[int]:
    """Serve an aggregator, and stop it at the end; yields the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    add_servicer_to_server(AggregatorGRPCServer(aggregator, 0, use_tls=False), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield port
    finally:
        aggregator.stop(reason="the test is over")
        server.stop(None).wait()
        aggregator.state.close()


def client_to(port: int, experiment_id: str) -> AggregatorGRPCClient:
    """Return OpenFL's client of an aggregator, as an envoy makes it."""
    return AggregatorGRPCClient(
        "localhost",
        port,
        *(None, None, None),  # certificates
        use_tls=False,
        aggregator_uuid=experiment_id,
        federation_uuid=experiment_id,
        single_col_cert_common_name="",
    )
