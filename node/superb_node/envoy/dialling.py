"""Which director an envoy may serve: one on this machine, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from superb_node.certificates import CertificateError, Certificates
from superb_node.command_line import add_tls_options, legal_port
from superb_node.errors import ConfigError
from superb_node.loopback import (
    ALLOW_PLAINTEXT,
    HostRefused,
    UnknownHost,
    addresses_of,
    is_loopback,
    legal_host,
)
from superb_node.names import fault_of_envoy_name

logger = logging.getLogger("envoy")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell an envoy, or a SuperNode in its place, who it is and whom it serves."""
    parser.add_argument("--name", default="env_one")
    parser.add_argument("--config", type=Path, default=Path("envoy_config.yaml"))
    parser.add_argument("--director-host", default="localhost")
    parser.add_argument("--director-port", default="50050")
    add_tls_options(parser, "trust the network")


def whom_to_serve(
    arguments: argparse.Namespace, service: str = "envoy"
) -> tuple[str, int, Certificates | None]:
    """Return the host and port that the options say, and the certificates, None without TLS.

    Args:
        arguments: by the options of `add_options`.
        service: see `require_tls_or_loopback`.

    Raises:
        ConfigError: the name, one of these, or what they are together is not legal.
    """
    if fault := fault_of_envoy_name(arguments.name):
        raise ConfigError(fault)
    host, port = legal_host(arguments.director_host), legal_port(arguments.director_port)
    certificates = Certificates.given(arguments.certificates)
    require_tls_or_loopback(arguments.name, host, certificates, arguments.plaintext, service)
    return host, port, certificates


def require_tls_or_loopback(
    name: str,
    director_host: str,
    certificates: Certificates | None,
    plaintext_allowed: bool = False,
    service: str = "envoy",
) -> None:
    """Refuse to run code of anybody who could answer in the place of a director on another machine.

    Args:
        name: the envoy's.
        director_host: name or address of its director, or SuperLink.
        certificates: with them, it speaks TLS.
        plaintext_allowed: its owner trusts everybody on the network.
        service: what calls; its start scripts are called so.

    Raises:
        HostRefused: without TLS, the director is on another machine, or there is no such host.
        CertificateError: the certificate is for an envoy of another name.
    """
    if certificates is not None and certificates.name != name:
        raise CertificateError(f"{certificates.certificate} is for {certificates.name}, not for {name}")
    if certificates is None and not plaintext_allowed:
        if not is_loopback(director_host):
            raise HostRefused(
                f"without TLS the {service} calls this machine only, and {director_host} is another: anyone "
                f"in between could have code run here. Use bash start_{service}_with_tls.sh NAME HOST, "
                f"or say {ALLOW_PLAINTEXT}"
            )
        return
    if certificates is None:
        logger.warning(
            "%s: the identity of %s is not checked, and others can listen in", ALLOW_PLAINTEXT, director_host
        )
    try:
        addresses_of(director_host)
    except UnknownHost as unknown:  # the director's machine may get its name later
        logger.warning("%s; is it spelt right? Trying all the same", unknown)
