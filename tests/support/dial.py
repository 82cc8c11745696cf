"""How a test calls the services of a federation without TLS: by their sockets, past envoy and notebook."""

from __future__ import annotations

import socket

import grpc

from superb_node import local_socket

_DIRECT = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


def channel(port: int) -> grpc.Channel:
    """Return a line of its own to the service of a port."""
    return grpc.insecure_channel(f"{local_socket.HOST}:{local_socket.path(port)}", _DIRECT)


def connection(port: int, seconds: float) -> socket.socket:
    """Connect to the service of a port, to say what is no gRPC; calls give up after so many seconds."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(seconds)
    try:
        line.connect(local_socket.path(port))
    except OSError:
        line.close()
        raise
    return line
