"""Make the certificates of a federation, or list them; ``make certs`` runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from certificates.authority import AUTHORITY_DAYS, NODE_DAYS
from certificates.federation import (
    WARNING_DAYS,
    Entry,
    has_authority,
    list_certificates,
    make_certificates,
    renew_certificates,
)
from certificates.names import AUTHORITY, CertificateError, envoy_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 if a listed certificate ends soon, 2 for a mistake."""
    # Whatever the terminal cannot show, such as the name of a folder, is shown as escapes.
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = _parser().parse_args(arguments)
    try:
        entries = list_certificates(options.folder) if options.list else _made(options)
    except CertificateError as error:
        print(f"certs: {error}", file=sys.stderr)
        return 2
    for entry in entries:
        print(_line(entry, with_made=not options.list))
    if options.list:
        return 1 if any(entry.warning for entry in entries) else 0
    print(
        f"Take each folder of {options.folder}/ to its node, and nowhere else: its key says who it is. "
        f"{options.folder}/authority/ stays here; who has it can be anybody."
    )
    return 0


def _made(options: argparse.Namespace) -> list[Entry]:
    again = has_authority(options.folder)
    # Who renews need not name all that there is.
    if options.force or (options.force is not None and options.envoys is None and again):
        return renew_certificates(options.folder, options.force, hosts=options.host, days=options.days)
    usual: list[str] = [] if again else ["2"]
    return make_certificates(
        options.folder,
        hosts=options.host,
        user=options.user,
        envoys=envoy_names(usual if options.envoys is None else options.envoys),
        days=options.days,
        authority_days=options.authority_days,
        force=options.force is not None,
    )


def _line(entry: Entry, with_made: bool) -> str:
    parts = [f"{entry.name:<20}", f"{entry.role:<10}"]
    if with_made:
        parts.append(f"{'made' if entry.made else 'kept':<5}")
    parts.append(f"until {entry.ends:%Y-%m-%d}, {entry.days_left:.0f} days")
    if entry.warning and entry.role == AUTHORITY:
        parts.append(f"- {entry.warning}: make all anew, make certs CERTS_OPTIONS='--folder ANOTHER'")
    elif entry.warning:
        parts.append(f"- {entry.warning}: make certs CERTS_OPTIONS='--force {entry.name}'")
    if entry.hosts:
        parts.append(f"for {', '.join(entry.hosts)}")
    return "  ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m certificates",
        description="Make the authority of a federation, and a key and certificate for each node.",
    )
    parser.add_argument("--folder", type=Path, default=Path("certs"), help="where they are (certs)")
    parser.add_argument(
        "--host", nargs="*", default=[], help="names and addresses under which the director is dialled"
    )
    parser.add_argument("--user", default="notebook", help="name of the notebook's user (notebook)")
    parser.add_argument(
        "--envoys", nargs="*", help="their names, or how many (2; none more where there are certificates)"
    )
    parser.add_argument("--days", type=float, default=NODE_DAYS, help=f"lifetime ({NODE_DAYS})")
    parser.add_argument(
        "--authority-days", type=float, default=AUTHORITY_DAYS, help=f"the authority's ({AUTHORITY_DAYS})"
    )
    parser.add_argument(
        "--force",
        nargs="*",
        metavar="NAME",
        help="make keys and certificates anew: of all, or of those named and nothing else",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help=f"show them; exit code 1 if less than {WARNING_DAYS} days are left",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
