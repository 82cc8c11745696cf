"""Keys and certificates on disk: one folder for the authority and one for each node, published whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certificates.names import CertificateError

# The same three names in every node's folder, so that a service needs to be told the folder only.
ROOT_CERTIFICATE, CERTIFICATE, PRIVATE_KEY = "root_certificate.pem", "certificate.pem", "private_key.pem"

# What a command makes before it is put in its place, and what had to go from there; both hold a private key.
_NEW, _OLD = ".partial-", ".old-"

# Elliptic curves: as strong as RSA of 3072 bits, in a thousandth of the time.
PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    private_key: PrivateKey


def certificate_in(folder: Path) -> x509.Certificate:
    """Read a folder's certificate.

    Raises:
        CertificateError: there is none, or the file is something else.
    """
    path = folder / CERTIFICATE
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(f"{path} is not a certificate in PEM format") from error


def pair_in(folder: Path) -> Pair:
    """Read a folder's certificate and private key.

    Raises:
        CertificateError: one is missing or something else, or they do not belong together.
    """
    certificate, path = certificate_in(folder), folder / PRIVATE_KEY
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise CertificateError(f"{path} is not an unencrypted private key in PEM format") from error
    if not isinstance(key, PrivateKey):
        raise CertificateError(f"{path} is not a private key of an elliptic curve")
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{path} does not belong to the certificate beside it")
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
        partial = Path(tempfile.mkdtemp(prefix=f"{_NEW}{folder.name}-", dir=folder.parent))  # mode 0700
        try:
            _write(partial / PRIVATE_KEY, _pem(pair.private_key), 0o600)
            _write(partial / CERTIFICATE, pair.certificate.public_bytes(Encoding.PEM), 0o644)
            if root is not None:
                _write(partial / ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM), 0o644)
            _put_in_place(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be written: {error.strerror}") from error


def sweep(folder: Path) -> None:
    """Mend what a command left that was killed: no node is without its folder, no private key lies about.

    Args:
        folder: holds the folders of authority and nodes. No other command may be at work in it.

    Raises:
        CertificateError: what was left cannot be moved or removed.
    """
    try:
        for old in folder.glob(f"{_OLD}*-*"):
            home = folder / old.name.removeprefix(_OLD).rpartition("-")[0]
            if (old / CERTIFICATE).exists() and not home.exists():  # killed between two renames
                os.rename(old, home)
            else:
                shutil.rmtree(old)
        for new in folder.glob(f"{_NEW}*-*"):
            shutil.rmtree(new)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be written: {error.strerror}") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands out of ``folder`` while inside; one that comes waits. It need not exist.

    Raises:
        CertificateError: nothing can be written or locked there.
    """
    if not folder.is_dir():
        yield
        return
    try:
        # A file, not the folder itself: NFS locks what is open for writing.
        lock = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise CertificateError(f"{folder} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when it is closed, also by a crash
        except OSError as error:
            raise CertificateError(
                f"{folder} is on a file system that cannot lock a file ({error.strerror}); move it to a "
                "local disk, and name it: make certs CERTS_OPTIONS='--folder PLACE'"
            ) from error
        yield


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    # Never readable by others, not even before its rights are set.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``; one that holds files has to go first."""
    if not folder.exists():
        os.rename(new, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f"{_OLD}{folder.name}-", dir=folder.parent))
    os.rename(folder, old)  # over the empty folder
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old)
