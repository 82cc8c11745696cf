"""A federation without TLS on TCP ports of the loopback, as owners may ask for: for what watches TCP."""

from __future__ import annotations

import grpc

from demo.federation import Federation
from superb_node.loopback import ALLOW_PLAINTEXT


class ByTcp(Federation):
    """A `Federation` whose services listen and call on TCP; its notebook has to be told the same."""

    def _channel(self) -> grpc.Channel:
        address = f"{self.director_host}:{self.director_port}"
        # A proxy of the environment has no business between two processes of one machine.
        return grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def _director_command(self) -> list[str]:
        return [*super()._director_command(), "director_config.yaml", ALLOW_PLAINTEXT]

    def _envoy_command(self, name: str) -> list[str]:
        return [*super()._envoy_command(name), "envoy_config.yaml", ALLOW_PLAINTEXT]
