"""The certificates of one federation in one folder: made, added to, renewed, listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from certificates.authority import AUTHORITY_DAYS, NODE_DAYS, issue, new_authority, now
from certificates.files import CERTIFICATE, Pair, alone_in, certificate_in, pair_in, publish, sweep
from certificates.names import (
    AUTHORITY,
    DIRECTOR,
    ENVOY,
    LOCAL_HOSTS,
    USER,
    CertificateError,
    host_entries,
    hosts_of,
    require_names,
    role_of,
)

#: From so many days before its end on, a certificate is reported as one to renew.
WARNING_DAYS = 30


@dataclass(frozen=True)
class Entry:
    """A certificate in a folder, for people.

    Attributes:
        name: whose; also the name of its folder.
        role: "authority", "director", "user" or "envoy".
        hosts: of the director: where it may be dialled.
        ends: when it expires, in UTC.
        made: it was made now, as opposed to kept.
    """

    name: str
    role: str
    hosts: tuple[str, ...]
    ends: datetime
    made: bool = False

    @property
    def days_left(self) -> float:
        """Days until it expires, negative after that."""
        return (self.ends - now()).total_seconds() / 86_400

    @property
    def warning(self) -> str:
        """What is to be done about its end; empty if that is far away."""
        if self.days_left <= 0:
            return "EXPIRED"
        return "expires soon" if self.days_left < WARNING_DAYS else ""


def make_certificates(
    folder: Path,
    *,
    hosts: Sequence[str] = (),
    user: str = "notebook",
    envoys: Sequence[str] = (),
    days: float = NODE_DAYS,
    authority_days: float = AUTHORITY_DAYS,
    force: bool | Collection[str] = False,
    starts: datetime | None = None,
) -> list[Entry]:
    """Make what is missing: an authority, and a folder for the director, the user and each envoy.

    What is there is kept, so that a further envoy is added by naming it. Each node's folder holds all that
    its node needs and nothing that another one must not have.

    Args:
        folder: holds ``authority/``, ``director/`` and a folder for each user and envoy.
        hosts: names and addresses under which the director is dialled, beside those of its own machine; by
            default those of the certificate that it has.
        user: the name under which the notebook submits experiments.
        envoys: their names.
        days: lifetime of the nodes' certificates.
        authority_days: lifetime of the authority, when it is made.
        force: make keys and certificates anew, of all nodes or of those that it names, not of the authority.
        starts: from when they are valid, by default from now.

    Returns:
        the authority and the nodes that were asked for, in this order.

    Raises:
        CertificateError: a name, host or lifetime is illegal; the authority is missing, damaged or has
            expired; or a certificate that is kept is not what was asked for.
    """
    require_names(user, envoys)
    if not hosts and (folder / DIRECTOR / CERTIFICATE).exists():
        hosts = hosts_of(certificate_in(folder / DIRECTOR))
    addresses = [str(entry.value) for entry in host_entries([*hosts, *LOCAL_HOSTS])]
    wanted = [(DIRECTOR, DIRECTOR, addresses), (user, USER, []), *((name, ENVOY, []) for name in envoys)]
    anew = _to_renew(force, [name for name, _, _ in wanted])
    with alone_in(folder):
        sweep(folder)
        return _make(folder, wanted, anew, days, authority_days, starts)


def _make(
    folder: Path,
    wanted: Sequence[tuple[str, str, Sequence[str]]],
    anew: Collection[str],
    days: float,
    authority_days: float,
    starts: datetime | None,
) -> list[Entry]:
    """Make what is missing of ``wanted``, names with roles and hosts, and what is to be made ``anew``."""
    home = folder / AUTHORITY
    is_new = not (home / CERTIFICATE).exists()
    authority = _authority_in(folder, authority_days, starts)
    # Everything is made before anything is written: a mistake leaves the folder as it was.
    pairs = {}
    for name, role, needed in wanted:
        if name in anew or not (folder / name / CERTIFICATE).exists():
            pairs[name] = issue(authority, role, name, needed, days, starts)
        else:
            _require_fitting(folder / name, role, needed, authority.certificate)
    if is_new:
        publish(home, authority)
    for name, pair in pairs.items():
        publish(folder / name, pair, authority.certificate)
    nodes = [_entry(folder / name, made=name in pairs) for name, _, _ in wanted]
    return [_entry(home, made=is_new), *nodes]


def renew_certificates(
    folder: Path, names: Sequence[str] = (), *, hosts: Sequence[str] = (), days: float = NODE_DAYS
) -> list[Entry]:
    """Make keys and certificates of nodes anew, each for the role and hosts that it has, and nothing else.

    Args:
        folder: as of :func:`make_certificates`.
        names: of the nodes, by default all.
        hosts: as of :func:`make_certificates`.
        days: lifetime of the new ones.

    Returns:
        the authority and the renewed nodes.

    Raises:
        CertificateError: the folder has no such node; or the authority is missing, damaged or has expired.
    """
    there = [entry.name for entry in list_certificates(folder) if entry.role != AUTHORITY]
    for name in names:
        if name not in there:
            raise CertificateError(f"{name!r} is not in {folder}, which has {', '.join(there) or 'no node'}")
    authority = _authority_in(folder, AUTHORITY_DAYS, None)
    pairs = {}
    for name in names or there:
        old = certificate_in(folder / name)
        role, needed = role_of(old), hosts_of(old)
        if role == DIRECTOR and hosts:
            needed = [str(entry.value) for entry in host_entries([*hosts, *LOCAL_HOSTS])]
        pairs[name] = issue(authority, role, name, needed, days, None)
    for name, pair in pairs.items():
        publish(folder / name, pair, authority.certificate)
    return [_entry(folder / AUTHORITY), *(_entry(folder / name, made=True) for name in pairs)]


def has_authority(folder: Path) -> bool:
    """Say whether certificates were made in ``folder`` before, and more can be."""
    return (folder / AUTHORITY / CERTIFICATE).exists()


def list_certificates(folder: Path) -> list[Entry]:
    """Return the certificates in a folder, the authority first.

    Raises:
        CertificateError: there are none, or one is damaged.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{CERTIFICATE}") if path.parent.name[0] != ".")
    if not found:
        raise CertificateError(f"no certificates in {folder}; make some: make certs")
    return sorted((_entry(each) for each in found), key=lambda entry: entry.role != AUTHORITY)


def _to_renew(force: bool | Collection[str], names: Sequence[str]) -> Collection[str]:
    if isinstance(force, bool):
        return names if force else ()
    for name in force:
        if name not in names:
            raise CertificateError(f"{name!r} is not among those to make: {', '.join(names)}")
    return force


def _authority_in(folder: Path, days: float, starts: datetime | None) -> Pair:
    """Read the authority, or make one for a folder without any certificates."""
    home = folder / AUTHORITY
    if (home / CERTIFICATE).exists():
        if certificate_in(home).not_valid_after_utc <= now():
            raise CertificateError(f"the authority in {home} has expired; make a new one in another folder")
        return pair_in(home)
    others = sorted(path.parent.name for path in folder.glob(f"[!.]*/{CERTIFICATE}"))
    if others:
        raise CertificateError(
            f"{folder} holds the certificate of {others[0]} but no {AUTHORITY}/ to sign more; "
            "run this where the authority is kept, or choose another folder"
        )
    return new_authority(days, starts)


def _require_fitting(folder: Path, role: str, hosts: Sequence[str], authority: x509.Certificate) -> None:
    """Refuse to keep a certificate of another role or authority, or without one of the hosts."""
    certificate = certificate_in(folder)
    is_role = role_of(certificate)
    if is_role != role:
        raise CertificateError(f"{folder} is of role {is_role!r}, not {role!r}; choose another name")
    missing = [host for host in hosts if host not in hosts_of(certificate)]
    if missing:
        raise CertificateError(
            f"{folder} is not for host {missing[0]}, only for {', '.join(hosts_of(certificate))}; "
            f"--force {folder.name} makes it anew"
        )
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception as error:  # another name, key or kind of signature
        raise CertificateError(
            f"{folder} is of another authority; --force {folder.name} makes it anew"
        ) from error


def _entry(folder: Path, made: bool = False) -> Entry:
    certificate = certificate_in(folder)
    (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    is_authority = folder.name == AUTHORITY
    return Entry(
        name=AUTHORITY if is_authority else str(common_name.value),
        role=AUTHORITY if is_authority else role_of(certificate),
        hosts=tuple(hosts_of(certificate)),
        ends=certificate.not_valid_after_utc,
        made=made,
    )
