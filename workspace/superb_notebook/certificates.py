"""The folder with which the notebook shows who it is: `make certs` makes one for each user."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY = "root_certificate.pem", "certificate.pem", "private_key.pem"


@dataclass(frozen=True)
class Certificates:
    """What mutual TLS needs of the notebook.

    Attributes:
        root_certificate: file of the authority's certificate, by which the director is checked.
        certificate: file of the user's own.
        private_key: file of its key, readable by its owner only.
        name: the common name in the certificate, under which the director knows the user.
    """

    root_certificate: Path
    certificate: Path
    private_key: Path
    name: str

    @classmethod
    def in_folder(cls, folder: Path) -> Certificates:
        """Check the three files in `folder`.

        Raises:
            ValueError: one is missing or no certificate, the key may be read by others, or the certificate
                has expired.
        """
        paths = [(folder / name).absolute() for name in (ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)]
        root_certificate, own, key = paths
        for path in paths:
            if not path.is_file():
                raise ValueError(
                    f"no certificates in {folder}: {path.name} is missing; make certs makes them"
                )
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise ValueError(f"{key} may be read by others (mode {mode:o}): chmod 600 {key}")
        try:
            certificate = x509.load_pem_x509_certificate(own.read_bytes())
            (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (OSError, ValueError) as error:
            raise ValueError(f"{own} is not a certificate in PEM format") from error
        ends = certificate.not_valid_after_utc
        if ends <= datetime.now(timezone.utc):
            raise ValueError(f"{own} expired on {ends:%Y-%m-%d}; renew it where the authority is kept")
        return cls(root_certificate, own, key, name=str(name.value))
