"""Who may call what on the director's service: by the role and the name in the caller's certificate.

A certificate of the federation says both in a SPIFFE id, `spiffe://superb-ks/envoy/env_one`, and the name
again as its common name, which OpenFL uses. Without TLS there is no certificate and callers name themselves;
the director then listens on a socket of its account only.

Corrects: OpenFL 1.7.1's director checks no role and no name. Anyone with a certificate of the authority may
register under any name, fetch every experiment, and submit code that runs on all envoys.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc

from superb_node.certificates import ENVOY, SPIFFE_DOMAIN, USER
from superb_node.text import quoted

logger = logging.getLogger("director")


class PermissionDenied(Exception):
    """A caller may not do that; the message says why."""


@dataclass(frozen=True)
class Caller:
    """Who calls, as its certificate says."""

    name: str
    role: str

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"


def caller_of(peer: Mapping[str, Sequence[bytes]]) -> Caller:
    """Return who calls, from what gRPC knows of the other side (`context.auth_context()`).

    Raises:
        PermissionDenied: there is no certificate, or it does not say in one way who its owner is.
    """
    names = [name.decode("utf-8", "replace") for name in peer.get("x509_common_name", ())]
    ids = [spiffe_id.decode("utf-8", "replace") for spiffe_id in peer.get("peer_spiffe_id", ())]
    if not names:
        raise PermissionDenied("it has no certificate with a common name")
    # gRPC gives no id if a certificate has several.
    role, _, name = ids[0].removeprefix(SPIFFE_DOMAIN).partition("/") if len(ids) == 1 else ("", "", "")
    if names != [name] or not role or not ids[0].startswith(SPIFFE_DOMAIN):
        raise PermissionDenied(
            f"its certificate, of {', '.join(names)}, names {', '.join(ids) or 'no role'}; "
            f"{SPIFFE_DOMAIN}ROLE/{names[0]} is legal"
        )
    return Caller(name, role)


Requirement = Callable[[Any, str], None]
"""Looks at a request of a caller of that name; raises `PermissionDenied`."""


def anything(request: Any, name: str) -> None:
    """Accept every request."""


def own_name(field: str) -> Requirement:
    """Require that the request's `field`, a path with dots, holds the caller's own name."""

    def require(request: Any, name: str) -> None:
        claimed = functools.reduce(getattr, field.split("."), request)
        if claimed != name:
            raise PermissionDenied(f"it calls itself {quoted(claimed)}")

    return require


def model_only(request: Any, name: str) -> None:
    """Require that a model is asked for, not the experiment's text, which is for the envoys that run it."""
    if not request.collaborator_name.startswith("model/"):
        raise PermissionDenied("only envoys fetch an experiment")


def own_text(request: Any, name: str) -> None:
    """Require that a text is asked for in the envoy's own name, and no model."""
    if request.collaborator_name.startswith("model/"):
        raise PermissionDenied("only users fetch a model")
    own_name("collaborator_name")(request, name)


def own_failure(request: Any, name: str) -> None:
    """Require a report of the envoy's own failure, not the wish to stop an experiment, whose code is 0."""
    own_name("collaborator_name")(request, name)
    if not request.error_code:
        raise PermissionDenied("only its user may stop an experiment")


def stop_only(request: Any, name: str) -> None:
    """Require the wish to stop an experiment; that it is the caller's own is the director's to check."""
    if request.error_code:
        raise PermissionDenied("only envoys report failures")


RULES: dict[str, dict[str, Requirement]] = {
    "UpdateShardInfo": {ENVOY: own_name("shard_info.node_info.name")},
    "UpdateEnvoyStatus": {ENVOY: own_name("name")},
    "WaitExperiment": {ENVOY: own_name("collaborator_name")},
    "GetExperimentData": {ENVOY: own_text, USER: model_only},
    "SetExperimentFailed": {ENVOY: own_failure, USER: stop_only},
    "SetNewExperiment": {USER: anything},
    "GetExperimentStatus": {USER: anything},
    "GetExperimentsList": {USER: anything},
    "GetMetricStream": {USER: anything},
    "RemoveExperimentData": {USER: anything},
    "GetEnvoys": {USER: anything},
    "GetDatasetInfo": {USER: anything},
}
"""What each role may call, method by method, and what the request must say. Everything else is refused.

That an experiment is the caller's own, the director checks (`Authors.manifest`).
"""


class AccessRules:
    """The rules with the director's list of envoys.

    Args:
        envoys: names of those that may take part; None means all whose certificate the authority signed.
    """

    def __init__(self, envoys: Collection[str] | None = None) -> None:
        self._envoys = None if envoys is None else frozenset(envoys)

    def authorize(self, method: str, caller: Caller) -> None:
        """Return if `caller` may call `method` at all.

        Raises:
            PermissionDenied: it may not, whatever it asks.
        """
        rule = RULES.get(method, {})
        if caller.role not in rule:
            raise PermissionDenied(f"{method} is for {_listed(rule) or 'nobody'}")
        if caller.role == ENVOY and self._envoys is not None and caller.name not in self._envoys:
            raise PermissionDenied("it is not on the director's list of envoys")

    def authorize_request(self, method: str, caller: Caller, request: Any) -> None:
        """Return if `caller`, who may call `method`, may ask for that.

        Raises:
            PermissionDenied: it may not.
        """
        RULES[method][caller.role](request, caller.name)

    def authorize_name(self, name: str) -> None:
        """Return if an envoy that names itself `name`, without TLS, may register.

        Raises:
            PermissionDenied: it may not.
        """
        self.authorize("UpdateShardInfo", Caller(name, ENVOY))


def _listed(roles: Iterable[str]) -> str:
    return " and ".join(f"{role}s" for role in roles)


class AuthorizationInterceptor(grpc.aio.ServerInterceptor):
    """Holds every call against the rules before the service sees it; logs each refusal in one line.

    Args:
        rules: who may call what.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the method's handler behind the checks; None if there is no such method."""
        handler = await continuation(details)
        method = details.method.rpartition("/")[2]
        if handler is None:
            return None
        if handler.request_streaming:  # what a stream says is read, and checked, by the service
            return handler._replace(stream_unary=self._checked_stream(method, handler.stream_unary))
        if handler.response_streaming:
            return handler._replace(unary_stream=self._checked_answers(method, handler.unary_stream))
        return handler._replace(unary_unary=self._checked(method, handler.unary_unary))

    def _checked(self, method: str, serve: Callable[..., Any]) -> Callable[..., Any]:
        async def checked(request: Any, context: Any) -> Any:
            await self._require(method, context, request)
            return await serve(request, context)

        return checked

    def _checked_answers(self, method: str, serve: Callable[..., Any]) -> Callable[..., Any]:
        async def checked(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._require(method, context, request)
            async for answer in serve(request, context):
                yield answer

        return checked

    def _checked_stream(self, method: str, serve: Callable[..., Any]) -> Callable[..., Any]:
        async def checked(stream: Any, context: Any) -> Any:
            await self._require(method, context)
            return await serve(stream, context)

        return checked

    async def _require(self, method: str, context: Any, request: Any = None) -> None:
        """Abort the call if the rules refuse its caller or its request."""
        caller: Caller | str = "a caller"
        try:
            caller = caller_of(context.auth_context())
            self._rules.authorize(method, caller)
            if request is not None:
                self._rules.authorize_request(method, caller, request)
        except PermissionDenied as denied:
            logger.warning("Refused %s of %s at %s: %s", method, caller, unquote(context.peer()), denied)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{method} of {caller}: {denied}")
