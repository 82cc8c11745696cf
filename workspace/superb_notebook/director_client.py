"""The notebook's line to the director: OpenFL's client, with models sent and fetched part by part."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from openfl.protocols import base_pb2, director_pb2
from openfl.transport.grpc.director_client import DirectorClient

from superb_ks.transport import messages
from superb_ks.transport.parts import TRAINED
from superb_ks.types import Vector
from superb_node.channel_options import set_client_options
from superb_node.reports import AGGREGATOR_PORT_HEADER

# How long a director that is starting again is waited for.
ANSWER_SECONDS = 10.0

set_client_options()


class PackedDirectorClient(DirectorClient):
    """Corrects: the whole model is repeated in every 2 MiB of what is sent, and is fetched in one message.

    The director's counterpart is `superb_node.director.service`.

    Args:
        client_id: the name under which experiments are submitted.
    """

    def __init__(self, *, client_id: str, **settings: Any) -> None:
        super().__init__(client_id=client_id, **settings)
        self._client_id = client_id
        for name in ("GetEnvoys", "GetExperimentStatus"):
            call = functools.partial(getattr(self.stub, name), wait_for_ready=True, timeout=ANSWER_SECONDS)
            setattr(self.stub, name, call)

    def submit(
        self, name: str, envoys: list[str], text: bytes, model: Vector | None, aggregator_port: int
    ) -> None:
        """Send an experiment's text and model, each byte once.

        Args:
            name: of the experiment.
            envoys: who takes part.
            text: of the experiment.
            model: float32 `[size]`; None: go on with what the director has on disk.
            aggregator_port: TCP port that the director opens for the envoys.

        Raises:
            grpc.RpcError: the director refuses; its details say why.
        """
        port = ((AGGREGATOR_PORT_HEADER, str(aggregator_port)),)
        self.stub.SetNewExperiment(_submission(name, envoys, text, model), metadata=port)

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
    name: str, collaborators: list[str], text: bytes, model: Vector | None
) -> Iterator[director_pb2.ExperimentInfo]:
    """Yield the text with the model's size, then the model's bytes; without a model, the text alone."""
    head = director_pb2.ExperimentInfo(name=name, collaborator_names=collaborators)
    head.experiment_data.size = len(text)
    head.experiment_data.npbytes = text
    if model is None:
        yield head
        return
    shape = base_pb2.MetadataProto(int_list=model.shape)
    head.model_proto.tensors.append(base_pb2.NamedTensor(name=TRAINED, transformer_metadata=[shape]))
    yield head
    for piece in messages.pieces(model):
        info = director_pb2.ExperimentInfo(name=name)
        info.experiment_data.size = len(piece)
        info.experiment_data.npbytes = piece
        yield info
