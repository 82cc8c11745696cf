"""Receives an experiment's archive from the director, no more of it than the owner's limits allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superb_node.approval.archive import MEGABYTE
from superb_node.reports import AUTHOR_HEADER

MAX_AUTHOR_CHARACTERS = 200


class DamagedArchive(OSError):
    """An experiment's archive did not arrive, or could not be written."""


def author_of(stream: Any) -> str:
    """Return who submitted an experiment, as the director tells it before the archive; under TLS it has that
    from the author's certificate.
    """
    told = dict(stream.initial_metadata()).get(AUTHOR_HEADER, b"")
    return told.decode(errors="replace")[:MAX_AUTHOR_CHARACTERS] or "somebody"


def receive_archive(stream: Any, archive: Path, max_megabytes: int) -> None:
    """Write the parts of an archive to a file; a failure leaves none.

    Args:
        stream: the director's answer to a call.
        archive: the file, which does not exist yet.
        max_megabytes: of the whole, as `archive_megabytes` says.

    Raises:
        DamagedArchive: it is too large, a part is damaged, or the disk is full.
        grpc.RpcError: the director went away.
    """
    limit, received = max_megabytes * MEGABYTE, 0
    try:
        with archive.open("wb") as file:
            for part in stream:
                received += len(part.npbytes)
                if part.size != len(part.npbytes):
                    raise DamagedArchive("a part has another size than announced")
                if received > limit:
                    stream.cancel()
                    raise DamagedArchive(
                        f"it has more than {limit:,} bytes, which archive_megabytes allows here"
                    )
                file.write(part.npbytes)
    except BaseException as error:
        archive.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, DamagedArchive):  # such as a full disk
            raise DamagedArchive(str(error)) from error
        raise
