"""Who may call what on the director's service: by the role and the name in the caller's certificate.

A certificate of the federation says both in a SPIFFE id, ``spiffe://superb-ks/envoy/env_one``, and the name
once more as its common name, by which OpenFL goes. Without TLS there is no certificate and callers name
themselves; the director then listens on the loopback only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The roles of a certificate that call the director.
USER, ENVOY = "user", "envoy"

_DOMAIN = "spiffe://superb-ks/"

#: Looks at a request of a caller of that name; returns what is wrong with it, or nothing.
Requirement = Callable[[Any, str], str]


@dataclass(frozen=True)
class Caller:
    """Who calls, as its certificate says."""

    name: str
    role: str

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"


class NoIdentity(ValueError):
    """A certificate does not say who its owner is, and in which role."""


def caller_of(peer: Mapping[str, Sequence[bytes]]) -> Caller:
    """Return who calls, from what gRPC knows of the other side (``context.auth_context()``).

    Raises:
        NoIdentity: there is no certificate, or it does not say in one way who its owner is.
    """
    names = [name.decode("utf-8", "replace") for name in peer.get("x509_common_name", ())]
    ids = [each.decode("utf-8", "replace") for each in peer.get("peer_spiffe_id", ())]
    if not names:
        raise NoIdentity("it has no certificate with a common name")
    # gRPC gives no id if a certificate has several.
    role, _, name = ids[0].removeprefix(_DOMAIN).partition("/") if len(ids) == 1 else ("", "", "")
    if names != [name] or not role or not ids[0].startswith(_DOMAIN):
        raise NoIdentity(
            f"its certificate, of {', '.join(names)}, names {', '.join(ids) or 'no role'}; "
            f"{_DOMAIN}ROLE/{names[0]} is legal"
        )
    return Caller(name, role)


def anything(request: Any, name: str) -> str:
    """Accept every request."""
    return ""


def own_name(field: str) -> Requirement:
    """Require that the request's ``field``, a path with dots, holds the caller's own name."""

    def require(request: Any, name: str) -> str:
        said = functools.reduce(getattr, field.split("."), request)
        return "" if said == name else f"it calls itself {said!r}"

    return require


def a_model(request: Any, name: str) -> str:
    """Require that a model is asked for, not the archive, which is for the envoys that run it."""
    return "" if request.collaborator_name.startswith("model/") else "only envoys fetch an archive"


def own_archive(request: Any, name: str) -> str:
    """Require that an archive is asked for in the envoy's own name, and no model."""
    if not a_model(request, name):
        return "only users fetch a model"
    return own_name("collaborator_name")(request, name)


def own_failure(request: Any, name: str) -> str:
    """Require a report of the envoy's own failure, not the wish to stop an experiment, whose code is 0."""
    return own_name("collaborator_name")(request, name) or (
        "" if request.error_code else "only its user may stop an experiment"
    )


def a_wish_to_stop(request: Any, name: str) -> str:
    """Require the wish to stop an experiment; that it is the caller's own is the director's to check."""
    return "only envoys report failures" if request.error_code else ""


#: What each role may call, method by method, and what the request must say. What is not here is refused. That
#: an experiment is the caller's own, the director checks (``TutorialDirector.own_manifest``).
RULES: dict[str, dict[str, Requirement]] = {
    "UpdateShardInfo": {ENVOY: own_name("shard_info.node_info.name")},
    "UpdateEnvoyStatus": {ENVOY: own_name("name")},
    "WaitExperiment": {ENVOY: own_name("collaborator_name")},
    "GetExperimentData": {ENVOY: own_archive, USER: a_model},
    "SetExperimentFailed": {ENVOY: own_failure, USER: a_wish_to_stop},
    "SetNewExperiment": {USER: anything},
    "GetExperimentStatus": {USER: anything},
    "GetExperimentDescription": {USER: anything},
    "GetExperimentsList": {USER: anything},
    "GetMetricStream": {USER: anything},
    "GetTrainedModel": {USER: anything},
    "RemoveExperimentData": {USER: anything},
    "GetEnvoys": {USER: anything},
    "GetDatasetInfo": {USER: anything},
}


class CallerRules:
    """The rules with the director's list of envoys.

    Args:
        envoys: names of those that may take part; None means all whose certificate the authority signed.
    """

    def __init__(self, envoys: Collection[str] | None = None) -> None:
        self._envoys = None if envoys is None else frozenset(envoys)

    def objection_to_caller(self, method: str, caller: Caller) -> str:
        """Return why ``caller`` may not call ``method`` whatever it asks; empty if it may."""
        rule = RULES.get(method, {})
        if caller.role not in rule:
            return f"{method} is for {_listed(rule) or 'nobody'}"
        if caller.role == ENVOY and self._envoys is not None and caller.name not in self._envoys:
            return "it is not on the director's list of envoys"
        return ""

    def objection_to_request(self, method: str, caller: Caller, request: Any) -> str:
        """Return why ``caller`` may not ask for that; empty if it may."""
        return RULES[method][caller.role](request, caller.name)

    def objection_to_name(self, name: str) -> str:
        """Return why an envoy that names itself ``name``, without TLS, may not register; empty if it may."""
        return self.objection_to_caller("UpdateShardInfo", Caller(name, ENVOY))


def _listed(roles: Iterable[str]) -> str:
    return " and ".join(f"{role}s" for role in roles)
