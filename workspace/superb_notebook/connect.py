"""The data scientist's view of a federation: its director, and who is online with which shard."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import grpc
from openfl.interface.interactive_api.federation import Federation

from superb_ks.settings import Addresses, Settings
from superb_node import local_socket
from superb_node.certificates import Certificates
from superb_node.command_line import SafeFormatter
from superb_node.errors import ConfigError, ToldError
from superb_node.flower.cli import FlowerRefused
from superb_node.loopback import UnknownHost, bare, in_uri, is_loopback
from superb_node.names import fault_of_envoy_name
from superb_node.shard_card import NoCard, read_card
from superb_node.text import printable
from superb_node.tls_diagnosis import why_refused
from superb_notebook.director_client import PackedDirectorClient
from superb_notebook.flower import FlowerFederation

logger = logging.getLogger(__name__)

CLIENT_ID = "notebook"
"""The name under which a notebook's experiments are submitted; without TLS, callers name themselves."""


class FederationError(ToldError):
    """The federation cannot do what was asked; the message says what to do about it."""


def connect(settings: Settings) -> Federation | FlowerFederation:
    """Connect to the director of the settings, or the SuperLink, by TLS if they name certificates.

    Raises:
        FederationError: there is no such host, nobody answers there, the certificates cannot be used, or
            there are none and the director or the SuperLink is on another machine.
    """
    # Corrects: OpenFL installs a log handler of its own and reports every call at level INFO.
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("openfl").setLevel(logging.ERROR)
    addresses = settings.addresses
    own = _certificates(addresses)
    if own is None:
        _require_tls_or_loopback(addresses)
    if settings.engine == "flower":
        try:
            return FlowerFederation(settings)
        except FlowerRefused as refused:
            raise FederationError(_why_no_superlink(refused, addresses, own)) from refused
    try:
        return _openfl_federation(addresses, own)
    except grpc.RpcError as error:
        raise FederationError(_why_not(error, addresses, own)) from error


def _openfl_federation(addresses: Addresses, own: Certificates | None) -> Federation:
    """Connect to a director.

    Raises:
        FederationError: the director of this account can have no socket here.
        grpc.RpcError: it does not answer, or refuses.
    """
    # An IPv6 address is in brackets before a port.
    host, port = in_uri(bare(addresses.director_host)), str(addresses.director_port)
    if _is_local(addresses):
        host, port = local_socket.HOST, _socket_path(addresses)
    # With TLS, the director takes the caller's name from its certificate.
    name = own.name if own else CLIENT_ID
    federation = Federation(
        client_id=name,
        director_node_fqdn=host,
        director_port=port,
        tls=own is not None,
        cert_chain=own and own.root_certificate,
        api_cert=own and own.certificate,
        api_private_key=own and own.private_key,
    )
    federation.dir_client = PackedDirectorClient(
        client_id=name,
        director_host=host,
        director_port=port,
        tls=own is not None,
        root_certificate=own and own.root_certificate,
        private_key=own and own.private_key,
        certificate=own and own.certificate,
    )
    return federation


def _why_not(error: grpc.RpcError, addresses: Addresses, own: Certificates | None) -> str:
    address = f"{addresses.director_host}:{addresses.director_port}"
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return f"the director at {address} refused: {error.details()}"
    files = own.files if own else None
    _is_loopback(addresses.director_host)  # says so if there is no such host
    no_answer = f"no director answers at {address} {'by TLS ' if own else ''}({error.code().name})"
    if not _is_local(addresses) and (
        reason := why_refused(bare(addresses.director_host), addresses.director_port, files)
    ):
        return f"{no_answer}: {reason}"
    start = "start_director_with_tls.sh HOST" if own else "start_director.sh"
    elsewhere = local_socket.who_else(address) if _is_local(addresses) else ""
    return f"{no_answer}. Start one: cd director && bash {start}{elsewhere}"


def _why_no_superlink(refused: FlowerRefused, addresses: Addresses, own: Certificates | None) -> str:
    """Return why Flower could not reach a SuperLink: of all that TLS refuses, it blames the network."""
    if not refused.installed:
        return str(refused)
    host, port = addresses.director_host, addresses.director_port
    _is_loopback(host)  # says so if there is no such host
    reason = why_refused(bare(host), port, own.files if own else None, asks_for_ours=False)
    if reason:
        return f"{host}:{port} is no SuperLink for this notebook: {reason}"
    if "SuperLink is unavailable" not in str(refused):
        return str(refused)
    script = "start_superlink_with_tls.sh HOST" if own else "start_superlink.sh"
    return f"no SuperLink answers at {in_uri(bare(host))}:{port}. Start one: cd director && bash {script}"


def _is_local(addresses: Addresses) -> bool:
    """Return whether the director is one of this account, called by a socket that no other account has."""
    return addresses.certificates is None and not addresses.insecure_allow_plaintext_on_network


def _socket_path(addresses: Addresses) -> str:
    try:
        return local_socket.path(addresses.director_port)
    except ConfigError as error:
        raise FederationError(str(error)) from error


def _certificates(addresses: Addresses) -> Certificates | None:
    if addresses.certificates is None:
        return None
    try:
        return Certificates.in_folder(Path(os.path.expanduser(addresses.certificates)))
    except ValueError as error:
        raise FederationError(str(error)) from error


def _require_tls_or_loopback(addresses: Addresses) -> None:
    """Refuse to send an experiment's code in plain text where others could read and change it."""
    host = addresses.director_host
    if addresses.insecure_allow_plaintext_on_network:
        logger.warning("Without TLS, nobody checks who answers at %s", host)
    elif not _is_loopback(host):
        raise FederationError(
            f"without TLS a notebook calls a director or SuperLink on this machine only, and {host} is "
            "another: anybody on the way could change what it submits. Name the folder of make certs in "
            "Addresses(certificates=...), or say insecure_allow_plaintext_on_network=True"
        )


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(bare(host))
    except UnknownHost as error:
        raise FederationError(f"{error}, as director_host says") from error


def shard_cards(federation: Federation, envoys: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the shard cards (see docs/design.md) of those who take part, by envoy name.

    An envoy with another description of its data is named in a warning and left out, as one with a name that
    no envoy may have. Its director has checked the same, but is another machine's.

    Args:
        federation: from `connect`.
        envoys: who takes part, as `Settings.envoys` has it; None: all that are online.

    Raises:
        FederationError: one of `envoys` is not online, or the director refuses this notebook, or does not
            answer any more.
    """
    try:
        registry = federation.get_shard_registry()
    except grpc.RpcError as error:
        refused = error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
        what = "the director refused" if refused else "the director does not answer"
        raise FederationError(f"{what}: {error.details()}") from error
    cards = {}
    for name, info in sorted(registry.items()):
        if info["is_online"]:
            try:
                if fault := fault_of_envoy_name(name):
                    raise NoCard(fault)
                cards[name] = read_card(info["shard_info"].shard_description)
            except NoCard as error:
                logger.warning("%s is left out: it has no valid shard card: %s", printable(name), error)
    if envoys is None:
        return cards
    if missing := [name for name in envoys if name not in cards]:
        who = f"envoy {missing[0]} is" if len(missing) == 1 else f"envoys {', '.join(missing)} are"
        raise FederationError(f"{who} not online; online: {', '.join(cards) or 'nobody'}")
    return {name: cards[name] for name in sorted(envoys)}


def shared_labels(cards: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Return the class names that all shards agree on.

    Raises:
        FederationError: no shard is online, two have different classes, or two hold the same clips.
    """
    if not cards:
        raise FederationError("no envoy is online. Start one: cd envoy && bash start_envoy.sh")
    require_disjoint_shards(cards)
    by_labels: dict[tuple[str, ...], list[str]] = {}
    for name, card in cards.items():
        by_labels.setdefault(tuple(card["labels"]), []).append(name)
    if len(by_labels) > 1:
        sides = "; ".join(f"{', '.join(names)}: {' '.join(labels)}" for labels, names in by_labels.items())
        raise FederationError(f"the envoys' shards have different classes: {sides}")
    return next(iter(by_labels))


def require_disjoint_shards(cards: dict[str, dict[str, Any]]) -> None:
    """Make sure that the online shards are different shares of one partition; shares may be missing.

    Raises:
        FederationError: two envoys hold the same share, or their shares are of different partitions.
    """
    owners: dict[tuple[Any, ...], str] = {}
    kinds: dict[tuple[Any, ...], str] = {}
    for name, card in cards.items():
        if card.get("rank") is None:  # a data owner's own recordings, not a share of a common corpus
            continue
        kind = (card.get("source"), card.get("partition"), card.get("world_size"))
        share = (*kind, card["rank"])
        if share in owners:
            raise FederationError(
                f"{owners[share]} and {name} hold the same clips: both have rank {card['rank']} of "
                f"{card['world_size']}. Each needs a copy of the folder envoy, with its own rank_worldsize"
            )
        owners[share] = kinds[kind] = name
    if len(kinds) > 1:
        sides = "; ".join(
            f"{name}: {source}, {kind}, {n} shares" for (source, kind, n), name in kinds.items()
        )
        raise FederationError(f"the envoys' shards are not of one partition, so clips may be shared: {sides}")
