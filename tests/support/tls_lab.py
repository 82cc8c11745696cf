"""The federation on sine waves with mutual TLS: its certificates are made as `make certs` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from certificates.federation import make_certificates
from superb_ks.settings import Addresses
from tests.support.lab import Lab

USER = "notebook"
# The address of a caller on this machine as the logs show it, whichever of the two families gRPC took.
HERE = r" at ipv(4:127\.0\.0\.1|6:\[::1\]):\d+"


def channel_credentials(folder: Path) -> grpc.ChannelCredentials:
    """Return what gRPC needs to call with the key and certificate in a node's folder."""
    names = ("root_certificate.pem", "private_key.pem", "certificate.pem")
    return grpc.ssl_channel_credentials(*[(folder / name).read_bytes() for name in names])


class TlsLab(Lab):
    """A `Lab` whose services speak mutual TLS, started by their own scripts.

    Args:
        folder: receives everything; made if need be.
        envoys: how many; ranks count from 1.
        settings: as of `Lab`.

    Attributes:
        certificates: the folder of `make certs`, with one folder for each node.
    """

    def __init__(self, folder: Path, envoys: int = 2, **settings: Any) -> None:
        super().__init__(folder, envoys=envoys, **settings)
        # Next to the nodes' folders, where the scripts look for them.
        self.certificates = self.nodes_dir / "certs"
        make_certificates(self.certificates, user=USER, envoys=self.envoy_names)

    def addresses(self, **changes: Any) -> Addresses:
        return super().addresses(**{"certificates": str(self.certificates / USER), **changes})

    def _channel(self) -> grpc.Channel:
        address = f"{self.director_host}:{self.director_port}"
        options = [("grpc.enable_http_proxy", 0)]
        return grpc.secure_channel(address, channel_credentials(self.certificates / USER), options=options)

    def envoy_channel(self, name: str) -> grpc.Channel:
        address = f"{self.director_host}:{self.director_port}"
        return grpc.secure_channel(address, channel_credentials(self.certificates / name))

    def _director_command(self) -> list[str]:
        return ["bash", "start_director_with_tls.sh", self.director_host]

    def _envoy_command(self, name: str) -> list[str]:
        return ["bash", "start_envoy_with_tls.sh", name, self.director_host]
