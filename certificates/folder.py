"""Keys and certificates on disk: one folder for the authority and one for each node, published whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certificates.authority import Pair
from superb_node.certificates import (
    CERTIFICATE,
    PRIVATE_KEY,
    ROOT_CERTIFICATE,
    CertificateError,
    read_certificate,
)

# What a command writes before it is put in its place, and what had to make way; both hold a private key.
_PARTIAL, _NEW = ".partial-", ".new"


def pair_in(folder: Path) -> Pair:
    """Read a folder's certificate and private key.

    Raises:
        CertificateError: one is missing or something else, or they do not belong together.
    """
    certificate, path = read_certificate(folder / CERTIFICATE), folder / PRIVATE_KEY
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise CertificateError(f"{path} is not an unencrypted private key in PEM format") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(f"{path} does not belong to the certificate next to it")
    return Pair(certificate, key)


def publish(folder: Path, pair: Pair, root: x509.Certificate | None = None) -> None:
    """Write a folder with a key and certificate, whole or not at all; one that is there gives way.

    Args:
        folder: made with rights for its owner only.
        pair: what goes into it.
        root: the authority's certificate, for a node.

    Raises:
        CertificateError: the folder cannot be written.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _one_command_at_a_time(folder.parent):
            _tidy(folder.parent)
            try:
                work = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder.parent))  # mode 0700
                new = work / _NEW
                new.mkdir(mode=0o700)
                _write(new / PRIVATE_KEY, _pem(pair.private_key), 0o600)
                _write(new / CERTIFICATE, pair.certificate.public_bytes(Encoding.PEM), 0o644)
                if root is not None:
                    _write(new / ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM), 0o644)
                if folder.exists():
                    os.rename(folder, work / folder.name)
                os.rename(new, folder)
            finally:
                _tidy(folder.parent)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be written: {error.strerror}") from error


@contextmanager
def _one_command_at_a_time(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _tidy(folder: Path) -> None:
    """Put back what a command that failed or was killed had taken away, and remove what it left."""
    for left in folder.glob(f"{_PARTIAL}*"):
        for old in left.iterdir():
            if old.name != _NEW and not (folder / old.name).exists():
                os.rename(old, folder / old.name)
        shutil.rmtree(left)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    # Never readable by others, not even before its rights are set.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
