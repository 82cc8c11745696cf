"""Takes in a submitted experiment: looks through its text, stores its model, queues it or lets it wait."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

from superb_ks.experiment import Experiment, UnsoundExperiment
from superb_node.approval.gate import Declined
from superb_node.approval.store import Submission
from superb_node.command_line import MAX_PORT, MIN_PORT
from superb_node.director import experiment_store as store
from superb_node.director.director import Director
from superb_node.director.envoy_names import require_legal
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import MAX_ENVOYS, announced_size


async def receive_submission(
    director: Director, messages: AsyncIterator[Any], caller: str, aggregator_port: object
) -> None:
    """Receive an experiment of `caller`.

    Args:
        director: queues the experiment, at once or when its gate lets it in.
        messages: the text with the model's size, then the model's bytes; or only the text, to resume.
        caller: who owns the experiment.
        aggregator_port: TCP port that is opened for the envoys while it runs, as its author wrote it.

    Raises:
        Refused: the text is unsound, the gate does not let it in, or a name, the number of envoys, the port
            or the model is illegal, or others are enrolled than the text names.
        Busy: as many wait as may.
        OSError: it cannot be stored.
    """
    head = await anext(messages, None)
    if head is None:
        raise Refused("the submission is empty")
    size, names = announced_size(head), list(head.collaborator_names)
    director.experiments.folder(head.name)  # refuses an illegal name
    if not 1 <= len(names) <= MAX_ENVOYS:  # nobody would ever tell the director that it is over
        raise Refused(f"{len(names):,} envoys are enrolled; legal: 1 to {MAX_ENVOYS:,}")
    require_legal(*names)
    port = _legal_port(aggregator_port)
    submission, runs_now = await _inspect(director, head, caller)
    _require_chosen(names, head.experiment_data.npbytes)
    text = head.experiment_data.npbytes
    with director.pending_approvals.place(
        caller, [each.sender for each in director.experiments_registry.waiting]
    ):
        if size is not None:
            await director.experiments.create(head.name, caller, names, size, _model_bytes(messages))
        else:
            _prepare_to_resume(director, head.name, names, caller)
        submit = functools.partial(director.submit, head.name, caller, names, text, port)
        if runs_now:
            submit()
        else:
            director.pending_approvals.add(submission, text, submit)


async def _inspect(director: Director, head: Any, caller: str) -> tuple[Submission, bool]:
    """Look a text through and ask the gate; says whether the experiment may run without waiting."""
    data = head.experiment_data
    try:
        if len(data.npbytes) != data.size:
            raise UnsoundExperiment(
                f"the experiment arrived damaged: {len(data.npbytes)} bytes, not {data.size}; submit it again"
            )
        submission = await asyncio.to_thread(director.gate.inspect, head.name, caller, data.npbytes)
        return submission, director.gate.is_approved(submission)
    except (UnsoundExperiment, Declined) as refusal:
        raise Refused(str(refusal)) from refusal


def _require_chosen(names: list[str], text: bytes) -> None:
    """Make sure that those take part whom the text names: it is what the owners read."""
    chosen = Experiment.read(text).settings.envoys
    if chosen is None or sorted(names) == list(chosen):
        return
    others = sorted(set(names) ^ set(chosen)) or [name for name in names if names.count(name) > 1]
    raise Refused(f"the experiment's envoys and those that are enrolled differ in {others[0]}")


def _prepare_to_resume(director: Director, name: str, names: list[str], caller: str) -> None:
    status = director.authors.manifest(name, caller)["status"]
    if status not in store.RESUMABLE:
        raise Refused(
            f"experiment {name!r} is {status}; only {', '.join(store.RESUMABLE)} ones can be resumed"
        )
    director.experiments.update(name, status=store.PENDING, collaborators=names)


def _legal_port(value: object) -> int:
    text = str(value)
    if text.isascii() and text.isdigit() and MIN_PORT <= int(text[:6]) <= MAX_PORT:
        return int(text)
    raise Refused(f"aggregator_port is {text[:20]!r}; legal: a whole number from {MIN_PORT} to {MAX_PORT}")


async def _model_bytes(messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message.experiment_data.npbytes
