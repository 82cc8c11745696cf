"""Takes in a submitted experiment: looks through its archive, stores its model, queues it or lets it wait."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from superb_node.approval.archive import UnsoundArchive
from superb_node.approval.gate import Declined
from superb_node.approval.store import Submission
from superb_node.director import experiment_store as store
from superb_node.director.director import Director
from superb_node.director.envoy_names import require_legal
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import MAX_ENVOYS, announced_size


async def receive_submission(
    director: Director, folder: Path, messages: AsyncIterator[Any], caller: str
) -> None:
    """Receive an experiment of `caller`; its archive goes to `folder`.

    Args:
        director: queues the experiment, at once or when its gate lets it in.
        folder: for the archive, until the experiment has ended.
        messages: the archive with the model's size, then the model's bytes; or only the archive, to resume.
        caller: who owns the experiment.

    Raises:
        Refused: the archive is unsound, the gate does not let it in, or a name or the model is illegal.
        OSError: it cannot be stored.
    """
    head = await anext(messages, None)
    if head is None:
        raise Refused("the submission is empty")
    size, names = announced_size(head), list(head.collaborator_names)
    director.experiments.folder(head.name)  # refuses an illegal name
    if len(names) > MAX_ENVOYS:
        raise Refused(f"{len(names):,} envoys are enrolled; up to {MAX_ENVOYS:,} are legal")
    require_legal(*names)
    submission, runs_now = await _inspect(director, head, caller)
    if not runs_now:
        director.pending_approvals.require_capacity(caller)
    archive = folder / str(uuid.uuid4())
    try:
        archive.write_bytes(head.experiment_data.npbytes)
        if size is not None:
            await director.experiments.create(head.name, caller, names, size, _model_bytes(messages))
        else:
            _prepare_to_resume(director, head.name, names, caller)
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    submit = functools.partial(director.submit, head.name, caller, names, archive)
    if runs_now:
        submit()
    else:
        director.pending_approvals.add(submission, archive, submit)


async def _inspect(director: Director, head: Any, caller: str) -> tuple[Submission, bool]:
    """Measure an archive and ask the gate; says whether the experiment may run without waiting.

    Corrects: OpenFL compares the sizes of the parts only, and finds out when it unpacks.
    """
    data = head.experiment_data
    try:
        if len(data.npbytes) != data.size:
            raise UnsoundArchive(
                f"the experiment's archive arrived damaged ({len(data.npbytes)} bytes, not {data.size}); "
                "submit it again"
            )
        submission = await asyncio.to_thread(director.gate.inspect, head.name, caller, data.npbytes)
        return submission, director.gate.is_approved(submission)
    except (UnsoundArchive, Declined) as refusal:
        raise Refused(str(refusal)) from refusal


def _prepare_to_resume(director: Director, name: str, names: list[str], caller: str) -> None:
    status = director.own_manifest(name, caller)["status"]
    if status not in store.RESUMABLE:
        raise Refused(
            f"experiment {name!r} is {status}; only {', '.join(store.RESUMABLE)} ones can be resumed"
        )
    director.experiments.update(name, status=store.PENDING, collaborators=names)


async def _model_bytes(messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message.experiment_data.npbytes
