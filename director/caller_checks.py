"""Holds every call to the director's service against the rules, before the service sees it.

Corrects: OpenFL 1.7.1's director checks no role and no name. Whoever has a certificate of the authority may
register under any name, fetch every archive, and submit code that runs on all envoys.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc

from caller_rules import Caller, CallerRules, NoIdentity, caller_of

logger = logging.getLogger("director")


class CallerChecks(grpc.aio.ServerInterceptor):
    """Refuses calls against the rules with PERMISSION_DENIED, and says so in one line of the log.

    Args:
        rules: who may call what.
    """

    def __init__(self, rules: CallerRules) -> None:
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
        """Abort the call if the rules object to its caller or to its request."""
        caller: Caller | str = "a caller"
        try:
            caller = caller_of(context.auth_context())
            objection = self._rules.objection_to_caller(method, caller)
            if not objection and request is not None:
                objection = self._rules.objection_to_request(method, caller, request)
        except NoIdentity as error:
            objection = str(error)
        if objection:
            logger.warning("Refused %s of %s at %s: %s", method, caller, unquote(context.peer()), objection)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{method} of {caller}: {objection}")
