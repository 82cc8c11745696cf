"""The director's gRPC service, on OpenFL 1.7.1's own messages.

Corrects, beside what each method says: refusals that reach the notebook as internal errors, and a service
that dies of SIGTERM without cleaning up.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import signal
import uuid
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from openfl.protocols import director_pb2
from openfl.protocols.utils import get_headers
from openfl.transport import DirectorGRPCServer
from openfl.transport.grpc.director_server import CLIENT_ID_DEFAULT
from openfl.transport.grpc.grpc_channel_options import channel_options

import experiment_store as store
from experiment_store import Refused

logger = logging.getLogger("director")

# What an envoy reports when its owner stopped it or its link broke, as opposed to a task that raised (1).
LEFT = 2

# Corrects: gRPC shares a port between processes by default, so that a second director on the same port takes
# half of the calls, silently. With this, it fails to start.
channel_options.append(("grpc.so_reuseport", 0))
# Corrects: a client whose link was cut, or whose machine lost its power, is never noticed while the director
# waits for it: half an upload holds its memory and its thread. A ping after this much silence shows it. gRPC
# takes the pings of clients, which look for a lost director in the same way, for an offence unless they may.
PING_SECONDS, PING_ANSWER_SECONDS, LEAST_PING_SECONDS = 10, 20, 5
channel_options.extend(
    [
        ("grpc.keepalive_time_ms", 1000 * PING_SECONDS),
        ("grpc.keepalive_timeout_ms", 1000 * PING_ANSWER_SECONDS),
        ("grpc.http2.ping_timeout_ms", 1000 * PING_ANSWER_SECONDS),  # what gRPC 1.65 goes by
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000 * LEAST_PING_SECONDS),
    ]
)


def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Answer ``Refused`` with the status INVALID_ARGUMENT and its message."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))

    return wrapped


class TutorialDirectorServer(DirectorGRPCServer):
    """Serves notebook and envoys."""

    def __init__(self, *, listen_host: str, **settings: Any) -> None:
        super().__init__(listen_host=listen_host, **settings)
        self.director.listen_host = listen_host

    def serve_until_stopped(self) -> int:
        """Serve until SIGINT or SIGTERM; returns the signal's number."""
        return asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> int:
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[int] = loop.create_future()

        def stop_by(signum: int) -> None:
            if not stop.done():
                stop.set_result(signum)

        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop_by, signum)
        background = [
            asyncio.create_task(self.director.start_experiment_execution_loop()),
            asyncio.create_task(self._run_server()),
        ]
        await asyncio.sleep(0.1)
        logger.info("Director listens on %s; Ctrl-C stops it", self.listen_uri)
        await asyncio.wait([stop, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in background:
            if task.done():
                task.result()  # raises what ended the service
        self.director.stop_running("the director was stopped")
        await asyncio.sleep(0.5)  # envoys hear of it through their open calls
        # Corrects: a traceback for each envoy whose open call is cancelled now.
        logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
        await self.server.stop(grace=0.2)
        for task in background:
            task.cancel()
        return await stop

    async def UpdateShardInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Register an envoy.

        Corrects: a second envoy of a name, as of a copied folder, silently takes the place of the first.
        """
        try:
            self.director.claim(
                request.shard_info.node_info.name, str(get_headers(context).get("envoy_home", ""))
            )
        except Refused as refusal:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(refusal))
        return await super().UpdateShardInfo(request, context)

    async def SetNewExperiment(self, stream: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Take in an experiment: its archive and its initial model, or the archive alone to resume it.

        Corrects: the model was expected in one protobuf message, of which memory held four copies.
        """
        try:
            return await self._set_new_experiment(stream, self.get_caller(context))
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        except OSError as error:
            reason = f"the director cannot store the experiment: {error}"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)

    async def _set_new_experiment(self, stream: Any, caller: str) -> Any:
        messages = aiter(stream)
        head = await anext(messages)
        _require_whole(head.experiment_data)
        archive = self.root_dir / str(uuid.uuid4())
        try:
            archive.write_bytes(head.experiment_data.npbytes)
            if head.model_proto.tensors:
                (size,) = head.model_proto.tensors[0].transformer_metadata[0].int_list
                await self.director.experiments.create(
                    head.name, caller, list(head.collaborator_names), size, _model_bytes(messages)
                )
            else:
                self._prepare_to_resume(head, caller)
        except BaseException:
            archive.unlink(missing_ok=True)
            raise
        self.director.submit(head.name, caller, list(head.collaborator_names), archive)
        return director_pb2.SetNewExperimentResponse(accepted=True)

    def _prepare_to_resume(self, head: Any, caller: str) -> None:
        status = self.director.own_manifest(head.name, caller)["status"]
        if status not in store.RESUMABLE:
            raise Refused(
                f"experiment {head.name!r} is {status}; only {', '.join(store.RESUMABLE)} ones can be resumed"
            )
        self.director.experiments.update(
            head.name, status=store.PENDING, collaborators=list(head.collaborator_names)
        )

    async def GetExperimentData(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Stream an archive to an envoy, or a model to its owner (``collaborator_name`` is ``model/best``).

        Corrects: a trained model came as one message, of at most 1 GiB.
        """
        kind, _, which = request.collaborator_name.partition("/")
        if kind != "model":
            async for chunk in super().GetExperimentData(request, context):
                yield chunk
            return
        try:
            self.director.own_manifest(request.experiment_name, self.get_caller(context))
            for chunk in self.director.experiments.model(request.experiment_name, which):
                yield director_pb2.ExperimentData(size=len(chunk), npbytes=chunk)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))

    async def GetMetricStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Stream all records, from the first on."""
        try:
            async for record in super().GetMetricStream(request, context):
                yield record
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))

    @refusing
    async def GetExperimentStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer with an experiment's status."""
        return await super().GetExperimentStatus(request, context)

    @refusing
    async def RemoveExperimentData(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Delete an experiment that has ended."""
        return await super().RemoveExperimentData(request, context)

    @refusing
    async def SetExperimentFailed(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take in an envoy's report that it failed or leaves, or its owner's wish to stop an experiment.

        Corrects: under TLS the reports of envoys are discarded, and the reason always is.
        """
        caller = self.get_caller(context)
        reason = request.error_description.strip() or "no reason given"
        if caller in (CLIENT_ID_DEFAULT, request.collaborator_name):
            if request.error_code == 0:
                self.director.stop_experiment(request.experiment_name, caller)
            else:
                self.director.set_experiment_failed(
                    experiment_name=request.experiment_name,
                    collaborator_name=request.collaborator_name,
                    reason=reason,
                    left=request.error_code == LEFT,
                )
        return director_pb2.SetExperimentFailedResponse()


def _require_whole(archive: Any) -> None:
    """Check an archive's checksums.

    Corrects: OpenFL compares sizes only, and finds out when it unpacks.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive.npbytes)) as whole:
            damage = whole.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        damage = str(error)
    if damage is not None or len(archive.npbytes) != archive.size:
        raise Refused(f"the experiment's archive arrived damaged ({damage}); submit it again")


async def _model_bytes(messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message.experiment_data.npbytes
