"""Which director an envoy may serve: one on this machine, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import logging

from superb_node.certificates import CertificateError, Certificates
from superb_node.loopback import ALLOW_PLAINTEXT, HostRefused, UnknownHost, addresses_of, is_loopback

logger = logging.getLogger("envoy")


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
