"""What an envoy and a notebook say to the loopback goes through no proxy, whatever the environment names."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy")

# In a process each: both change the same list of OpenFL's.
ENVOY = """
from superb_node.channel_options import set_client_options
set_client_options()
from openfl.protocols import aggregator_pb2, director_pb2
from openfl.transport.grpc.aggregator_client import AggregatorGRPCClient
from openfl.transport.grpc.director_client import ShardDirectorClient
director = ShardDirectorClient(director_host="localhost", director_port={port}, shard_name="a", tls=False)
director.stub.UpdateEnvoyStatus(director_pb2.UpdateEnvoyStatusRequest(), timeout=10)
aggregator = AggregatorGRPCClient("localhost", {port}, "", "", "", use_tls=False)
aggregator.stub.GetTasks(aggregator_pb2.GetTasksRequest(), timeout=10)
"""
NOTEBOOK = """
from openfl.protocols import director_pb2
from superb_notebook.director_client import PackedDirectorClient
files = dict(root_certificate=None, private_key=None, certificate=None)
client = PackedDirectorClient(
    client_id="ann", director_host="localhost", director_port={port}, tls=False, **files
)
client.stub.GetEnvoys(director_pb2.GetEnvoysRequest())
"""


class Anything(grpc.GenericRpcHandler):
    """Answers every call with an empty message, and notes its method."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.called.append(details.method.rpartition("/")[2])
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@pytest.fixture
def service() -> Iterator[tuple[Anything, int]]:
    handler = Anything()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield handler, port
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("source", "calls"), [(ENVOY, ["UpdateEnvoyStatus", "GetTasks"]), (NOTEBOOK, ["GetEnvoys"])]
)
def test_a_proxy_sees_nothing(service: tuple[Anything, int], source: str, calls: list[str]) -> None:
    handler, port = service
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        folders = os.pathsep.join(str(ROOT / folder) for folder in ("node", "workspace"))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().startswith("no_")},
            **dict.fromkeys(VARIABLES, address),
            "PYTHONPATH": folders,
        }
        result = subprocess.run(
            [sys.executable, "-c", source.format(port=port)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        with pytest.raises(BlockingIOError):  # nobody has connected
            proxy.accept()
    assert result.returncode == 0, result.stderr
    assert handler.called == calls
