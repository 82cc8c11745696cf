"""The folder with which the director shows who it is: ``make certs`` makes one for each node."""

from __future__ import annotations

import logging
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

logger = logging.getLogger("director")

ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY = "root_certificate.pem", "certificate.pem", "private_key.pem"
# What is left when the log begins to say that a certificate wants to be renewed.
WARNING_DAYS = timedelta(days=30)


class CertificateError(ValueError):
    """The certificates cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Certificates:
    """What mutual TLS needs of one node.

    Attributes:
        root_certificate: file of the authority's certificate, by which the others are checked.
        certificate: file of the node's own.
        private_key: file of its key, readable by its owner only.
        name: the common name in the certificate.
        hosts: the host names and addresses in it.
        ends: when it expires, in UTC.
    """

    root_certificate: Path
    certificate: Path
    private_key: Path
    name: str
    hosts: tuple[str, ...]
    ends: datetime

    @classmethod
    def in_folder(cls, folder: Path) -> Certificates:
        """Check the three files in ``folder``.

        Raises:
            CertificateError: one is missing or no certificate, the key may be read by others, or the
                certificate has expired.
        """
        paths = [(folder / name).absolute() for name in (ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)]
        root_certificate, own, key = paths
        for path in paths:
            if not path.is_file():
                raise CertificateError(
                    f"no certificates in {folder}: {path.name} is missing; make certs makes them"
                )
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise CertificateError(f"{key} may be read by others (mode {mode:o}): chmod 600 {key}")
        try:
            certificate = x509.load_pem_x509_certificate(own.read_bytes())
            (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{own} is not a certificate in PEM format") from error
        ends = certificate.not_valid_after_utc
        left = ends - datetime.now(timezone.utc)
        if left <= timedelta(0):
            raise CertificateError(f"{own} expired on {ends:%Y-%m-%d}; renew it where the authority is kept")
        if left < WARNING_DAYS:
            logger.warning("The certificate of %s expires in %d days", name.value, left.days)
        return cls(root_certificate, own, key, name=str(name.value), hosts=_hosts(certificate), ends=ends)


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)
