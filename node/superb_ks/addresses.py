"""Where the programs of a federation reach each other. Imports nothing but the standard library."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from superb_ks.checked import TEXT, TRUE_OR_FALSE, Checked, Range, changes, checked, is_int

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last part of digits alone would be taken for an address.
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?!\d+$){_LABEL}")


def is_host(value: Any) -> bool:
    """Tell whether a value is the name or the address of a host, of IPv6 with or without brackets."""
    if not isinstance(value, str):
        return False
    try:
        ipaddress.ip_address(value[1:-1] if value.startswith("[") and value.endswith("]") else value)
    except ValueError:
        return _HOST_NAME.fullmatch(value) is not None
    return True


_HOST = Range(
    is_host, "a name such as gpu1.example.org or an address such as ::1; director_port has the port"
)
_PORT = Range(lambda value: is_int(value, 1, 65535), "a whole number from 1 to 65535")
_FOLDER = Range(
    lambda value: value is None or TEXT.contains(value),
    "None, or the folder that make certs made for the notebook's user",
)


@dataclass(frozen=True, kw_only=True)
class Addresses(Checked):
    """Hosts, ports and certificates.

    Attributes:
        director_host: name or address under which the director is reached from here.
        director_port: of the director; a port of TCP with TLS, and a name for a socket without.
        aggregator_port: what the director opens for the envoys while an experiment runs, in the same way.
        certificates: folder of `make certs` with which the notebook proves its identity, and uses TLS with
            the director; None: no TLS, with a director on this machine.
        insecure_allow_plaintext_on_network: True allows a director on another machine without TLS: anyone on
            the way can read and change everything, and nobody's identity is checked.
    """

    director_host: str = checked(_HOST, "localhost")
    director_port: int = checked(_PORT, 50050)
    aggregator_port: int = checked(_PORT, 50051)
    certificates: str | None = checked(_FOLDER, None)
    insecure_allow_plaintext_on_network: bool = checked(TRUE_OR_FALSE, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        other = self.director_port != self.aggregator_port
        self._require(other, "aggregator_port", "another port than director_port")

    def __repr__(self) -> str:
        return changes(self)
