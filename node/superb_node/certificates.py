"""The folder with which a node shows who it is: `make certs` makes one for each."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from superb_node.errors import ConfigError

logger = logging.getLogger(__name__)

# The same three names in every folder, so that a service needs to be told the folder only.
ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY = "root_certificate.pem", "certificate.pem", "private_key.pem"
DIRECTOR, USER, ENVOY = "director", "user", "envoy"
"""The roles that a certificate can have."""
SPIFFE_DOMAIN = "spiffe://superb-ks/"
"""A certificate says its role and name as a SPIFFE id, such as `spiffe://superb-ks/envoy/env_one`."""
AUTHORITY = "authority"
"""The role of who signs, and the folder of its key where that lies next to the nodes' folders."""
WARNING_DAYS = 30
"""Days before its end from which a certificate is reported as one to renew."""


class CertificateError(ConfigError):
    """Certificates cannot be made or used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Certificates:
    """What mutual TLS needs of one node.

    Attributes:
        root_certificate: file of the authority's certificate, by which the others are checked.
        certificate: file of the node's own.
        private_key: file of its key, readable by its owner only.
        name: the common name in the certificate.
        hosts: the host names and addresses in it.
    """

    root_certificate: Path
    certificate: Path
    private_key: Path
    name: str
    hosts: tuple[str, ...]

    @classmethod
    def in_folder(cls, folder: Path) -> Certificates:
        """Check the three files in `folder`.

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
        certificate = read_certificate(own)
        try:
            (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except ValueError as error:
            raise CertificateError(f"{own} names nobody") from error
        ends = certificate.not_valid_after_utc
        left = ends - datetime.now(timezone.utc)
        if left <= timedelta(0):
            raise CertificateError(f"{own} expired on {ends:%Y-%m-%d}; renew it where the authority is kept")
        if left < timedelta(days=WARNING_DAYS):
            logger.warning("The certificate of %s expires in %d days", name.value, left.days)
        return cls(root_certificate, own, key, name=str(name.value), hosts=hosts_of(certificate))

    @classmethod
    def given(cls, folder: Path | None) -> Certificates | None:
        """Return the certificates in the folder that a node's owner names; None if no folder is named.

        Says so if this account can read the key by which all identities are made.

        Raises:
            CertificateError: see `in_folder`.
        """
        if folder is None:
            return None
        certificates = cls.in_folder(folder)
        _warn_of_authority_key(certificates)
        return certificates

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The three files: the authority's certificate, the node's own, its key."""
        return self.root_certificate, self.certificate, self.private_key


def authorities() -> Path:
    """Return where `make certs` keeps the keys of authorities: outside of what travels to nodes."""
    return Path.home() / ".superb-federation-authority"


def folder_name_of(authority: x509.Certificate) -> str:
    """Return the name of an authority's folder among others."""
    return authority.fingerprint(SHA256()).hex()[:16]


def _warn_of_authority_key(certificates: Certificates) -> None:
    # No more than a warning: who tries TLS out on one machine has one account for everything.
    root = certificates.root_certificate
    own = authorities() / folder_name_of(read_certificate(root))
    for folder in (root.parent.parent / AUTHORITY, own):
        if os.access(folder / PRIVATE_KEY, os.R_OK):
            logger.warning(
                "Whoever breaks into this node can read the authority's key, which makes any identity: "
                "move %s to another account or machine",
                folder,
            )


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate in PEM format.

    Raises:
        CertificateError: there is none, or the file is something else.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(f"{path} is not a certificate in PEM format") from error


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names and addresses that a certificate is for."""
    names = alternative_names(certificate)
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """Return what a certificate is for besides its common name; empty if it says nothing."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
