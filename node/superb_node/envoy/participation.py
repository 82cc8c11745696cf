"""One experiment in an envoy: its collaborator, and what the director is told when it fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from openfl.transport import AggregatorGRPCClient

from superb_ks.experiment import Experiment
from superb_ks.types import Vector
from superb_node.reports import LEFT, TASK_RAISED


@dataclass(frozen=True)
class AggregatorAddress:
    """Where the aggregator of one submission is, and how it is called.

    Attributes:
        host: of the director, or `local_socket.HOST`.
        port: that the director opened, or the path of its socket.
        experiment_id: tells the submission.
        root_certificate: file of the authority's; None: without TLS.
        private_key: file of our own.
        certificate: file of our own.
    """

    host: str
    port: str
    experiment_id: str
    root_certificate: Path | None = None
    private_key: Path | None = None
    certificate: Path | None = None


def run_collaborator(
    name: str,
    text: bytes,
    address: AggregatorAddress,
    shard_descriptor: Any,
    cuda_devices: Sequence[int],
    keep: Callable[[Vector], None],
) -> None:
    """Take part in an experiment until it is over.

    Args:
        name: the envoy's.
        text: of the experiment; its tasks run here.
        address: of its aggregator.
        shard_descriptor: gives the data.
        cuda_devices: numbers of those that may be used; the first one is.
        keep: is given the weights of a personal model that is kept, float32 `[size]`.

    Raises:
        Exception: what a task raised.
    """
    # Only an envoy has PyTorch.
    from superb_ks.collaborator.aggregator_client import AggregatorConnection
    from superb_ks.collaborator.collaborator import make_collaborator

    client = AggregatorGRPCClient(
        agg_addr=address.host,
        agg_port=address.port,
        aggregator_uuid=address.experiment_id,
        federation_uuid=address.experiment_id,
        single_col_cert_common_name="",
        use_tls=address.root_certificate is not None,
        root_certificate=address.root_certificate,
        private_key=address.private_key,
        certificate=address.certificate,
    )
    line = AggregatorConnection(client, name)
    device = f"cuda:{cuda_devices[0]}" if cuda_devices else "cpu"
    make_collaborator(name, Experiment.read(text), shard_descriptor, line, device, keep).run()


def failure_report(error: BaseException) -> tuple[int, str]:
    """Return the code and the text with which the director is told of a failure."""
    # By this attribute `superb_ks.collaborator` says that the link to a collaborator's aggregator broke.
    if getattr(error, "was_reached", False):
        # Corrects: a link that broke counts as a task that raised, which ends the experiment for all. The
        # others go on, and this envoy is invited again as long as there is work for it.
        return LEFT, f"lost the way to the aggregator: {error}"
    if isinstance(error, Exception):
        return TASK_RAISED, "".join(traceback.format_exception(error))
    return LEFT, f"stopped by its owner ({error})"


def one_line(error: BaseException) -> str:
    """Return one line about an error; gRPC's own text has many."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
