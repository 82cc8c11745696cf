"""The director's gRPC service, on OpenFL 1.7.1's own messages.

Corrects: refusals reach the notebook as internal errors, and the service dies of SIGTERM without cleaning up.
The methods say what else they correct.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import grpc
from openfl.protocols import director_pb2
from openfl.protocols.utils import get_headers
from openfl.transport import DirectorGRPCServer
from openfl.transport.grpc import director_server as openfl_server
from openfl.transport.grpc.director_server import CLIENT_ID_DEFAULT
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_node import local_socket
from superb_node.channel_options import set_server_options
from superb_node.director.authorization import AuthorizationInterceptor
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import (
    MAX_REPORT_CHARACTERS,
    MAX_SUBMISSIONS,
    MAX_SUBMISSIONS_OF_ONE,
    MAX_VIEWERS,
    MAX_VIEWERS_OF_ONE,
    SERVER_OPTIONS,
    Busy,
    IllegalShard,
    Places,
    Stalled,
    require_legal_heartbeat,
    require_legal_shard,
    timely,
)
from superb_node.director.submission import receive_submission
from superb_node.reports import (
    AGGREGATOR_PORT_HEADER,
    AUTHOR_HEADER,
    DECLINED,
    HOME_HEADER,
    ID_HEADER,
    LEFT,
    MODEL_SIZE_HEADER,
    STILL_RUNS_HEADER,
    STOP,
    WAITS,
)
from superb_node.text import quoted

logger = logging.getLogger("director")


def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Answer `Refused` with the status INVALID_ARGUMENT and its message."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))

    return wrapped


def address_of(context: Any) -> str:
    """Return where a caller is, for the log: an address, or `unix` for a program of this account."""
    return unquote(context.peer()).rstrip(":")


class DirectorService(DirectorGRPCServer):
    """Serves notebook and envoys."""

    def __init__(self, *, listen_host: str, listen_port: int | str = 50050, **settings: Any) -> None:
        set_server_options()
        super().__init__(listen_host=listen_host, listen_port=listen_port, **settings)
        self._shown = local_socket.shown(listen_host, listen_port)
        if listen_host == local_socket.HOST:
            self._shown += ", for programs of this account only"
        self.director.listen_host = listen_host
        self._submissions, self._viewers = (
            Places(MAX_SUBMISSIONS, MAX_SUBMISSIONS_OF_ONE, "submissions"),
            Places(MAX_VIEWERS, MAX_VIEWERS_OF_ONE, "viewers"),
        )

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
        logger.info("Director listens on %s; Ctrl-C stops it", self._shown)
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
        # Corrects: gRPC prints a traceback for a call whose end it has not noticed when the loop is closed.
        if calls := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(calls, timeout=1)
        return await stop

    async def _run_server(self) -> None:
        """Serve; with TLS, every call is authorized first, for which OpenFL's server has no hook."""
        interceptors = [AuthorizationInterceptor(self.director.access_rules)] if self.tls else []
        openfl_server.aio = SimpleNamespace(
            server=functools.partial(grpc.aio.server, interceptors=interceptors)
        )
        openfl_server.channel_options = list({**dict(channel_options), **SERVER_OPTIONS}.items())
        await super()._run_server()

    async def UpdateShardInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Register an envoy.

        Corrects: a second envoy of a name, as of a copied folder, silently takes the place of the first.
        """
        name, home = request.shard_info.node_info.name, str(get_headers(context).get(HOME_HEADER, ""))
        try:
            require_legal_shard(request.shard_info)
            self.director.envoy_names.claim(name, home)
        except Refused as refusal:
            logger.warning("Refused %s: %s", address_of(context), refusal)
            lasts = isinstance(refusal, IllegalShard)  # a name that is taken may become free
            code = grpc.StatusCode.FAILED_PRECONDITION if lasts else grpc.StatusCode.ALREADY_EXISTS
            await context.abort(code, str(refusal))
        is_new = name not in self.director.envoy_names
        answer = await super().UpdateShardInfo(request, context)
        if answer.accepted and is_new:
            logger.info("Envoy %s joined", name)
        if answer.accepted:  # a shard of other shapes takes no name away from one that fits
            self.director.envoy_names.record(name, home)
        return answer

    @refusing
    async def UpdateEnvoyStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take in a heartbeat.

        Corrects: one that tells of other devices than the registration did is answered with a traceback.
        """
        require_legal_heartbeat(request)
        try:
            return await super().UpdateEnvoyStatus(request, context)
        except (KeyError, IndexError):
            reason = f"envoy {quoted(request.name)} registered fewer CUDA devices"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)

    async def WaitExperiment(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Name an experiment for an envoy, as soon as there is one; or say at once whether one still runs.

        Corrects: a queue is kept for ever for every name that anybody ever asked with.
        """
        if request.collaborator_name not in self.director.envoy_names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no envoy of that name is registered")
        if asked := str(get_headers(context).get(STILL_RUNS_HEADER, "")):
            wanted = self.director.still_wants(asked, self._id_in(context), request.collaborator_name)
            return director_pb2.WaitExperimentResponse(experiment_name=asked if wanted else "")
        return await super().WaitExperiment(request, context)

    def _id_in(self, context: Any) -> str:
        """Return which submission a call is about."""
        return str(get_headers(context).get(ID_HEADER, ""))

    async def _refuse_unused(self, request: Any, context: Any) -> Any:
        """Refuse what nothing here calls, also without TLS, where no rule does.

        Corrects: OpenFL's own methods raise, since models are on disk and it forgets what has ended.
        """
        reason = "legal: GetExperimentData for models, GetExperimentStatus and GetMetricStream for the rest"
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    GetTrainedModel = GetExperimentDescription = _refuse_unused

    async def SetNewExperiment(self, stream: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Take in an experiment: its text and its initial model, or only the text to resume it.

        Corrects: the model was expected in one protobuf message, of which memory held four copies.
        """
        try:
            with self._submissions.one(self.get_caller(context)):
                port = get_headers(context).get(AGGREGATOR_PORT_HEADER, "")
                messages = timely(aiter(stream))
                await receive_submission(self.director, messages, self.get_caller(context), port)
            return director_pb2.SetNewExperimentResponse(accepted=True)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        except Busy as busy:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(busy))
        except Stalled as stalled:
            logger.warning("Gave up a submission of %s: %s", address_of(context), stalled)
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"the submission stalled: {stalled}")
        except OSError as error:
            reason = f"the director cannot store the experiment: {error}"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)

    async def GetExperimentData(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Send an experiment's text to an envoy, or stream a model to its owner (`collaborator_name` is
        `model/best`).

        Corrects: a trained model came as one message, of at most 1 GiB.
        """
        kind, _, which = request.collaborator_name.partition("/")
        try:
            if kind != "model":
                experiment = self.director.experiment_for(request.experiment_name, request.collaborator_name)
                await context.send_initial_metadata(
                    (
                        (AUTHOR_HEADER, experiment.sender.encode()),
                        (ID_HEADER, experiment.id),
                        (AGGREGATOR_PORT_HEADER, str(experiment.aggregator_port)),
                        (MODEL_SIZE_HEADER, str(experiment.model_size)),
                    )
                )
                yield director_pb2.ExperimentData(size=len(experiment.text), npbytes=experiment.text)
                return
            self.director.authors.manifest(request.experiment_name, self.get_caller(context))
            for data in self.director.experiments.model(request.experiment_name, which):
                yield director_pb2.ExperimentData(size=len(data), npbytes=data)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        except OSError as error:  # the experiment has just ended
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no such file any more: {error.strerror}"
            )

    async def GetMetricStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Stream all records, from the first on."""
        try:
            with self._viewers.one(self.get_caller(context)):
                async for record in super().GetMetricStream(request, context):
                    yield record
        except Busy as busy:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(busy))
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
        reason = request.error_description.strip()[:MAX_REPORT_CHARACTERS] or "no reason given"
        if request.error_code == STOP:
            self.director.authors.stop(request.experiment_name, caller)
        elif caller not in (CLIENT_ID_DEFAULT, request.collaborator_name):
            pass
        elif not self.director.is_current(request.experiment_name, self._id_in(context)):
            pass  # it is about one of the same name that has ended
        elif request.error_code == WAITS:
            self.director.record_waiting(request.experiment_name, request.collaborator_name, reason)
        else:
            self.director.set_experiment_failed(
                experiment_name=request.experiment_name,
                collaborator_name=request.collaborator_name,
                reason=reason,
                left=request.error_code == LEFT,
                declined=request.error_code == DECLINED,
            )
        return director_pb2.SetExperimentFailedResponse()
