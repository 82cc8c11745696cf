"""Receives an experiment from the director, no more of it than is legal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from superb_ks.experiment import MAX_BYTES, MAX_MODEL_SIZE
from superb_node.reports import AGGREGATOR_PORT_HEADER, AUTHOR_HEADER, ID_HEADER, MODEL_SIZE_HEADER
from superb_node.text import quoted

MAX_AUTHOR_CHARACTERS = 200


class DamagedDownload(OSError):
    """An experiment did not arrive."""


@dataclass(frozen=True)
class Download:
    """An experiment as the director sends it.

    Attributes:
        name: of the experiment.
        author: who submitted it, as the director tells; under TLS it has that from the author's certificate.
        text: of the experiment.
        id: what the aggregator asks for.
        aggregator_port: where it listens.
        model_size: how many values its model has.
    """

    name: str
    author: str
    text: bytes
    id: str
    aggregator_port: int
    model_size: int


def receive(name: str, stream: Any) -> Download:
    """Receive an experiment.

    Args:
        name: of the experiment.
        stream: the director's answer to a call.

    Raises:
        DamagedDownload: it is too large, a part is damaged, or the director does not tell where to go.
        grpc.RpcError: the director went away.
    """
    told = dict(stream.initial_metadata())
    text = bytearray()
    for part in stream:
        if part.size != len(part.npbytes):
            raise DamagedDownload("a part has another size than announced")
        text += part.npbytes
        if len(text) > MAX_BYTES:
            stream.cancel()
            raise DamagedDownload(f"it has more than the legal {MAX_BYTES:,} bytes")
    author = told.get(AUTHOR_HEADER, b"").decode(errors="replace")[:MAX_AUTHOR_CHARACTERS] or "somebody"
    port, own_id = str(told.get(AGGREGATOR_PORT_HEADER, "")), str(told.get(ID_HEADER, ""))
    if not own_id or not port.isdigit():
        raise DamagedDownload("the director does not tell where its aggregator is; it is of another release")
    size = str(told.get(MODEL_SIZE_HEADER, ""))
    if not size.isdigit() or len(size) > 20 or int(size) > MAX_MODEL_SIZE:
        raise DamagedDownload(
            f"the director tells of a model of {quoted(size)} values; legal: up to {MAX_MODEL_SIZE:,}"
        )
    return Download(name, author, bytes(text), own_id, int(port), int(size))
