"""Make the certificates of a federation, or list them; `make certs` runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from certificates.authority import NODE_DAYS
from certificates.federation import (
    Entry,
    authority_home,
    list_certificates,
    make_certificates,
    renew_certificates,
)
from superb_node.certificates import AUTHORITY, WARNING_DAYS, CertificateError, authorities
from superb_node.command_line import set_up_output
from superb_node.names import envoy_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 if a listed certificate ends soon, 2 for a mistake."""
    set_up_output()
    options = _parser().parse_args(arguments)
    try:
        options.authorities = options.authorities or authorities()
        listed = list_certificates(options.folder, options.authorities) if options.list else None
        entries = listed or _made(options)
    except CertificateError as error:
        print(f"certs: {error}", file=sys.stderr)
        return 2
    for entry in entries:
        print(_line(entry, with_made=not options.list))
    if options.list:
        return 1 if any(entry.warning for entry in entries) else 0
    print(
        f"Take each folder of {options.folder}/ to its node, and nowhere else: its key says who it is. "
        f"{authority_home(options.folder, options.authorities)} has the authority's key; anyone who has it "
        "can create any identity."
    )
    return 0


def _made(options: argparse.Namespace) -> list[Entry]:
    exists, renewed = authority_home(options.folder, options.authorities) is not None, []
    if exists and options.force is not None:
        renewed = renew_certificates(
            options.folder,
            options.force,
            authorities=options.authorities,
            hosts=options.host,
            days=options.days,
        )
        if options.envoys is None:  # no others need be named
            return renewed
    usual: list[str] = [] if exists else ["2"]
    made = make_certificates(
        options.folder,
        authorities=options.authorities,
        hosts=options.host,
        user=options.user,
        envoys=_envoy_names(usual if options.envoys is None else options.envoys),
        days=options.days,
    )
    names = {entry.name for entry in renewed}
    return [*renewed, *(entry for entry in made if entry.name not in names)]


def _envoy_names(names: Sequence[str]) -> list[str]:
    """Return the envoys' names; a single number means this many, called as `make demo` calls them."""
    if len(names) == 1 and names[0].isdigit():
        count = int(names[0])
        if not 1 <= count <= 1000:
            raise CertificateError(f"{count} envoys; legal: 1 to 1000, or their names")
        return [envoy_name(rank) for rank in range(1, count + 1)]
    return list(names)


def _line(entry: Entry, with_made: bool) -> str:
    parts = [f"{entry.name:<20}", f"{entry.role:<10}"]
    if with_made:
        parts.append(f"{'made' if entry.made else 'kept':<5}")
    parts.append(f"until {entry.ends:%Y-%m-%d}, {entry.days_left:.0f} days")
    if entry.warning and entry.role == AUTHORITY:
        parts.append(f"- {entry.warning}: make a new one: make certs CERTS_OPTIONS='--folder ANOTHER'")
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
        "--authorities", type=Path, help="where authorities' keys are kept (~/.superb-federation-authority)"
    )
    parser.add_argument(
        "--host", nargs="*", default=[], help="names and addresses under which the director is dialled"
    )
    parser.add_argument("--user", default="notebook", help="name of the notebook's user (notebook)")
    parser.add_argument(
        "--envoys", nargs="*", help="their names, or how many (2; none more where there are certificates)"
    )
    parser.add_argument("--days", type=float, default=NODE_DAYS, help=f"lifetime ({NODE_DAYS})")
    parser.add_argument(
        "--force",
        nargs="*",
        metavar="NAME",
        help="make new keys and certificates: of all, or only of those named",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help=f"show them; exit code 1 if less than {WARNING_DAYS} days are left",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
