"""The certificates of one federation in one folder: made, added to, renewed, listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from certificates.authority import NODE_DAYS, Pair, host_entries, issue, new_authority, now
from certificates.folder import pair_in, publish
from superb_node.certificates import (
    AUTHORITY,
    CERTIFICATE,
    DIRECTOR,
    ENVOY,
    ROOT_CERTIFICATE,
    SPIFFE_DOMAIN,
    USER,
    WARNING_DAYS,
    CertificateError,
    alternative_names,
    folder_name_of,
    hosts_of,
    read_certificate,
)
from superb_node.loopback import LOCAL_HOSTS
from superb_node.names import fault_of_envoy_name, illegal_name, is_legal_name


@dataclass(frozen=True)
class Entry:
    """A certificate in a folder, for people.

    Attributes:
        name: of its owner; also the name of its folder.
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
    authorities: Path | None = None,
    hosts: Sequence[str] = (),
    user: str = "notebook",
    envoys: Sequence[str] = (),
    days: float = NODE_DAYS,
) -> list[Entry]:
    """Make what is missing: an authority, and a folder for the director, the user and each envoy.

    What is there is kept, so that a further envoy is added by naming it. Each node's folder holds all that
    its node needs and nothing that another one must not have.

    Args:
        folder: holds `director/` and a folder for each user and envoy.
        authorities: holds a folder for the authority of each federation; None: it is `authority/` in
            `folder`, as it is wherever that exists.
        hosts: names and addresses under which the director is dialled, besides those of its own machine; by
            default those of the certificate that it has.
        user: the name under which the notebook submits experiments.
        envoys: their names.
        days: lifetime of the nodes' certificates.

    Returns:
        the authority and the nodes that were asked for, in this order.

    Raises:
        CertificateError: a name, host or lifetime is illegal; the authority is missing, damaged or has
            expired; or a certificate that is kept is not what was asked for.
    """
    _require_names(user, envoys)
    if not hosts and (folder / DIRECTOR / CERTIFICATE).exists():
        hosts = hosts_of(read_certificate(folder / DIRECTOR / CERTIFICATE))
    wanted = {DIRECTOR: DIRECTOR, user: USER, **dict.fromkeys(envoys, ENVOY)}
    addresses = _with_local_hosts(hosts)
    authority, home = _authority_of(folder, authorities)
    is_new = not (home / CERTIFICATE).exists()
    # Everything is made before anything is written: a mistake leaves the folder as it was.
    pairs = {}
    for name, role in wanted.items():
        needed = addresses if role == DIRECTOR else []
        if not (folder / name / CERTIFICATE).exists():
            pairs[name] = issue(authority, role, name, needed, days)
        else:
            _require_fitting(folder / name, role, needed, authority.certificate)
    if is_new:
        publish(home, authority)
    for name, pair in pairs.items():
        publish(folder / name, pair, authority.certificate)
    nodes = [_entry(folder / name, made=name in pairs) for name in wanted]
    return [_entry(home, AUTHORITY, made=is_new), *nodes]


def renew_certificates(
    folder: Path,
    names: Sequence[str] = (),
    *,
    authorities: Path | None = None,
    hosts: Sequence[str] = (),
    days: float = NODE_DAYS,
) -> list[Entry]:
    """Make new keys and certificates of nodes, each for the role and hosts that it has, and nothing else.

    Args:
        folder: as of `make_certificates`.
        names: of the nodes, by default all.
        authorities: as of `make_certificates`.
        hosts: as of `make_certificates`.
        days: lifetime of the new ones.

    Returns:
        the authority and the renewed nodes.

    Raises:
        CertificateError: the folder has no such node; or the authority is missing, damaged or has expired.
    """
    nodes = {entry.name: entry for entry in list_certificates(folder) if entry.role != AUTHORITY}
    for name in names:
        if name not in nodes:
            raise CertificateError(f"{name!r} is not in {folder}, which has {', '.join(nodes) or 'no node'}")
    authority, home = _authority_of(folder, authorities)
    pairs = {}
    for name in names or nodes:
        role, needed = nodes[name].role, nodes[name].hosts
        if role == DIRECTOR and hosts:
            needed = tuple(_with_local_hosts(hosts))
        pairs[name] = issue(authority, role, name, needed, days)
    for name, pair in pairs.items():
        publish(folder / name, pair, authority.certificate)
    return [_entry(home, AUTHORITY), *(_entry(folder / name, made=True) for name in pairs)]


def list_certificates(folder: Path, authorities: Path | None = None) -> list[Entry]:
    """Return the certificates in a folder, and before them that of the authority if it is kept here.

    Args:
        folder: as of `make_certificates`.
        authorities: as of `make_certificates`.

    Raises:
        CertificateError: there are none, or one is damaged.
    """
    found = sorted(path.parent for path in folder.glob(f"[!.]*/{CERTIFICATE}"))
    if not found:
        raise CertificateError(f"no certificates in {folder}; make some: make certs")
    home = authority_home(folder, authorities)
    kept = home is not None and (home / CERTIFICATE).exists()
    nodes = [_entry(each) for each in found if each.name != AUTHORITY]
    return [_entry(home, AUTHORITY), *nodes] if home is not None and kept else nodes


def authority_home(folder: Path, authorities: Path | None = None) -> Path | None:
    """Return where the authority of the certificates in a folder is kept; None if it has none yet."""
    inside = folder / AUTHORITY
    nodes = sorted(folder.glob(f"[!.]*/{ROOT_CERTIFICATE}"))
    if (inside / CERTIFICATE).exists() or (nodes and authorities is None):
        return inside
    return authorities / folder_name_of(read_certificate(nodes[0])) if nodes and authorities else None


def _with_local_hosts(hosts: Sequence[str]) -> list[str]:
    return [str(entry.value) for entry in host_entries([*hosts, *LOCAL_HOSTS])]


def _require_names(user: str, envoys: Sequence[str]) -> None:
    """Make sure that no name of user and envoys is illegal, reserved, or given twice."""
    seen = {AUTHORITY: "the authority", DIRECTOR: "the director"}
    for name in (user, *envoys):
        if not is_legal_name(name):
            raise CertificateError(illegal_name("name", name))
        # Some file systems take folders whose names differ only in case for one.
        if name.lower() in seen:
            raise CertificateError(f"name {name!r} is that of {seen[name.lower()]} already; choose another")
        seen[name.lower()] = "the user" if name == user else "another envoy"
    for fault in filter(None, map(fault_of_envoy_name, envoys)):
        raise CertificateError(fault)


def _authority_of(folder: Path, authorities: Path | None) -> tuple[Pair, Path]:
    """Read the authority, or make one for a folder without any certificates; returns also its folder."""
    home = authority_home(folder, authorities)
    if home is None:
        new = new_authority()
        return new, folder / AUTHORITY if authorities is None else authorities / folder_name_of(
            new.certificate
        )
    if not (home / CERTIFICATE).exists():
        raise CertificateError(
            f"{folder} holds certificates, but their authority is not in {home} to sign more; "
            "run this where the authority is kept, or choose another folder"
        )
    if read_certificate(home / CERTIFICATE).not_valid_after_utc <= now():
        raise CertificateError(f"the authority in {home} has expired; make a new one in another folder")
    return pair_in(home), home


def _require_fitting(folder: Path, role: str, hosts: Sequence[str], authority: x509.Certificate) -> None:
    """Refuse to keep a certificate of another role or authority, or without one of the hosts."""
    entry = _entry(folder)
    again = f"--force {folder.name} makes a new one"
    if entry.role != role:
        raise CertificateError(f"{folder} is of role {entry.role!r}, not {role!r}; choose another name")
    missing = [host for host in hosts if host not in entry.hosts]
    if missing:
        raise CertificateError(
            f"{folder} is not for host {missing[0]}, only for {', '.join(entry.hosts)}; {again}"
        )
    try:
        read_certificate(folder / CERTIFICATE).verify_directly_issued_by(authority)
    except Exception as error:  # another name, key or kind of signature
        raise CertificateError(f"{folder} is of another authority; {again}") from error


def _entry(folder: Path, name: str = "", made: bool = False) -> Entry:
    certificate = read_certificate(folder / CERTIFICATE)
    role = name
    if not name:
        (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        uris = alternative_names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
        roles = [
            uri.removeprefix(SPIFFE_DOMAIN).partition("/")[0] for uri in uris if uri.startswith(SPIFFE_DOMAIN)
        ]
        name, role = str(common_name.value), roles[0] if roles else ""
    return Entry(name, role, hosts_of(certificate), certificate.not_valid_after_utc, made)
