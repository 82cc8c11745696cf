"""The notebook's line to the director: OpenFL's client, with models sent and fetched part by part."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from openfl.protocols import base_pb2, director_pb2
from openfl.transport.grpc.director_client import DirectorClient
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks.transport import messages
from superb_ks.types import Vector

# How long a director that is starting again is waited for.
ANSWER_SECONDS = 10.0

# Corrects: a new connection to a director shares the state of earlier ones, so that it fails at once, for up
# to two minutes, after the director was away.
channel_options.extend([("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 1000)])
# Corrects: gRPC sends calls of the loopback, which nothing encrypts, to the proxy that `http_proxy` names.
channel_options.append(("grpc.enable_http_proxy", 0))
# Corrects: whoever follows an experiment over a link that breaks, or that a firewall forgets, waits for ever.
# A ping after this much silence shows it; without the last setting gRPC stops pinging after two.
PING_SECONDS, PING_ANSWER_SECONDS = 10, 20
channel_options.extend(
    [
        ("grpc.keepalive_time_ms", 1000 * PING_SECONDS),
        ("grpc.keepalive_timeout_ms", 1000 * PING_ANSWER_SECONDS),
        ("grpc.http2.ping_timeout_ms", 1000 * PING_ANSWER_SECONDS),  # what gRPC 1.65 goes by
        ("grpc.http2.max_pings_without_data", 0),
    ]
)


class PackedDirectorClient(DirectorClient):
    """Corrects: the whole model is repeated in every 2 MiB of the archive, and is fetched in one message.

    The director's counterpart is in `director/director_server.py`.

    Args:
        client_id: the name under which experiments are submitted.
    """

    def __init__(self, *, client_id: str, **settings: Any) -> None:
        super().__init__(client_id=client_id, **settings)
        self._client_id = client_id
        for name in ("GetEnvoys", "GetExperimentStatus"):
            call = functools.partial(getattr(self.stub, name), wait_for_ready=True, timeout=ANSWER_SECONDS)
            setattr(self.stub, name, call)
        # Experiments are pickled code: the director refuses those of another Python before it loads them.
        python = ("python-version", f"{sys.version_info.major}.{sys.version_info.minor}")
        for name in ("GetEnvoys", "SetNewExperiment"):
            setattr(self.stub, name, functools.partial(getattr(self.stub, name), metadata=(python,)))
        self.resume = False
        """Set to go on with an experiment that the director has on disk, instead of sending a model."""

    def set_new_experiment(
        self, name: str, col_names: list[str], arch_path: str, initial_tensor_dict: dict[str, Vector]
    ) -> Any:
        """Send archive and model, each byte once."""
        model = None if self.resume else initial_tensor_dict[messages.TRAINED]
        return self.stub.SetNewExperiment(_submission(name, col_names, Path(arch_path).read_bytes(), model))

    def fetch_model(self, experiment_name: str, which: str) -> Vector:
        """Fetch the packed weights, float32 `[size]`, of the `best` or the `last` model.

        Raises:
            grpc.RpcError: there is no such experiment or model; its details say what.
        """
        request = director_pb2.GetExperimentDataRequest(
            experiment_name=experiment_name, collaborator_name=f"model/{which}"
        )
        data = b"".join(chunk.npbytes for chunk in self.stub.GetExperimentData(request))
        return np.frombuffer(data, np.float32)

    def stop_experiment(self, experiment_name: str) -> None:
        """Ask the director to end an experiment of ours."""
        self.stub.SetExperimentFailed(
            director_pb2.SetExperimentFailedRequest(
                experiment_name=experiment_name,
                collaborator_name=self._client_id,
                error_description="stopped",
            )
        )


def _submission(
    name: str, collaborators: list[str], archive: bytes, model: Vector | None
) -> Iterator[director_pb2.ExperimentInfo]:
    """Yield the archive with the model's size, then the model's bytes; without a model, the archive alone."""
    head = director_pb2.ExperimentInfo(name=name, collaborator_names=collaborators)
    head.experiment_data.size = len(archive)
    head.experiment_data.npbytes = archive
    if model is None:
        yield head
        return
    shape = base_pb2.MetadataProto(int_list=model.shape)
    head.model_proto.tensors.append(base_pb2.NamedTensor(name=messages.TRAINED, transformer_metadata=[shape]))
    yield head
    for piece in messages.pieces(model):
        info = director_pb2.ExperimentInfo(name=name)
        info.experiment_data.size = len(piece)
        info.experiment_data.npbytes = bytes(piece)
        yield info
